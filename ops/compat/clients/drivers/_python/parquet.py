"""A Parquet data set in four files, written by pyarrow and read by others with a predicate that a twentieth of it can answer."""

import random

import pyarrow
import pyarrow.fs
import pyarrow.parquet
from scenarios import same

ROWS, FILES, GROUP = 1_000_000, 4, 25_000
FIRST, LAST = 612_345, 612_444


def values() -> list[float]:
    source = random.Random("parquet")
    return [source.random() for _ in range(ROWS)]


class DataSet:
    """The scenarios parquet_write and parquet_read for a driver: `read` gives count and sum of `value` where FIRST <= id <= LAST."""

    def arrow(self) -> pyarrow.fs.S3FileSystem:
        return pyarrow.fs.S3FileSystem(access_key=self.access_key, secret_key=self.secret_key, region=self.region, scheme=self.scheme,
                                       endpoint_override=self.endpoint.split("://")[1], tls_ca_file_path=self.ca, force_virtual_addressing=self.virtual)

    def parquet_files(self) -> list[str]:
        return [f"{self.bucket}/{self.key('parquet')}/part={number}/data.parquet" for number in range(FILES)]

    def parquet_write(self):
        fs, column = self.arrow(), values()
        for number, path in enumerate(self.parquet_files()):
            rows = range(number * ROWS // FILES, (number + 1) * ROWS // FILES)
            table = pyarrow.table({"id": pyarrow.array(rows, pyarrow.int64()), "value": pyarrow.array(column[rows.start:rows.stop], pyarrow.float64())})
            pyarrow.parquet.write_table(table, path, filesystem=fs, row_group_size=GROUP, compression="zstd", use_dictionary=False)

    def parquet_read(self):
        count, total = self.read_parquet()
        same((count, round(total, 6)), (LAST - FIRST + 1, round(sum(values()[FIRST:LAST + 1]), 6)), "count and sum of what the predicate leaves")

"""Disks that end badly: a file with ext4 in it whose power goes, a small one that is full. Needs root and a loop device."""

import contextlib
import fcntl
import os
import struct
import subprocess
import tempfile

# ext4's shutdown (_IOR('X', 125, __u32)): from here on nothing reaches the device, and what was not flushed is lost.
EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2


class Disk:
    """ext4 in a file, mounted."""

    def __init__(self, mebibytes: int):
        self.directory = tempfile.mkdtemp(prefix="sealgate-disk-")
        self.image, self.root = os.path.join(self.directory, "image"), os.path.join(self.directory, "root")
        with open(self.image, "wb") as file:
            file.truncate(mebibytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-F", self.image], check=True)
        os.mkdir(self.root)
        self.mount()

    def mount(self):
        # The longest commit interval there is: what was not synced stays in memory only.
        subprocess.run(["mount", "-o", "loop,commit=300", self.image, self.root], check=True)

    def cut_power(self):
        """Drops everything that was not synced. The disk answers with errors until it is mounted again."""
        directory = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(directory, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(directory)

    def unmount(self):
        subprocess.run(["umount", self.root], check=True)

    def close(self):
        subprocess.run(["umount", "-l", self.root], stderr=subprocess.DEVNULL)
        with contextlib.suppress(OSError):
            os.unlink(self.image)
            os.rmdir(self.root)
            os.rmdir(self.directory)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

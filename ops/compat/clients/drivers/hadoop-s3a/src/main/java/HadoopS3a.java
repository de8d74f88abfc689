import static contract.Contract.same;
import static contract.Contract.sameBytes;

import contract.Client;
import contract.Contract.Absent;
import contract.Contract.Scenario;
import contract.Contract.Told;
import contract.Scenarios;
import java.io.ByteArrayInputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.BBUploadHandle;
import org.apache.hadoop.fs.BulkDelete;
import org.apache.hadoop.fs.EtagSource;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FSDataOutputStreamBuilder;
import org.apache.hadoop.fs.FileRange;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.MultipartUploader;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.RemoteIterator;
import org.apache.hadoop.fs.UploadHandle;
import org.apache.hadoop.fs.s3a.S3AFileStatus;
import org.apache.hadoop.fs.s3a.S3AFileSystem;
import software.amazon.awssdk.awscore.exception.AwsServiceException;
import software.amazon.awssdk.services.s3.model.MultipartUpload;

/** Hadoop's FileSystem on S3A: paths in the place of keys, streams in the place of requests. */
public final class HadoopS3a implements Client {
    private static final String HEADER = "fs.s3a.create.header.";

    private final Told told;
    private final Configuration settings;

    private HadoopS3a(Told told) {
        this.told = told;
        settings = new Configuration();
        settings.set("fs.s3a.endpoint", told.endpoint());
        settings.set("fs.s3a.endpoint.region", told.region());
        settings.set("fs.s3a.access.key", told.access_key());
        settings.set("fs.s3a.secret.key", told.secret_key());
        settings.setBoolean("fs.s3a.path.style.access", told.pathStyle());
        // Where blocks wait to be sent; below /tmp otherwise.
        settings.set("hadoop.tmp.dir", told.work() + "/hadoop");
    }

    public static void main(String[] arguments) throws Exception {
        Scenarios.main(HadoopS3a::new);
    }

    private FileSystem in(String bucket) throws IOException {
        return FileSystem.get(URI.create("s3a://" + bucket), settings);
    }

    private static Path at(String bucket, String key) {
        return new Path("s3a://" + bucket + "/" + key);
    }

    static String key(Path path) {
        return path.toUri().getPath().substring(1);
    }

    @Override
    public Stored put(String bucket, String key, Put put) throws Exception {
        if (put.tags() != null) {
            throw new Absent("S3A has no tags");
        }
        if (put.checksum() != null) {
            putChecked(bucket, key, put);
            return null;
        }
        FSDataOutputStreamBuilder<?, ?> file = in(bucket).createFile(at(bucket, key)).overwrite(true);
        put.metadata().forEach((name, value) -> file.must(HEADER + name, value));
        if (put.ifAbsent()) {
            file.must("fs.option.create.conditional.overwrite", true);
        }
        write(file, put.body());
        if (put.contentDisposition() != null) {
            same("the user metadata", head(bucket, key).metadata(), put.metadata());
            throw new Absent("a file is created with user metadata, which came back as extended attributes; it takes no Content-Type, Cache-Control, "
                    + "Content-Disposition, and Content-Encoding for all files at once only");
        }
        return new Stored(listed(bucket, key), ((S3AFileStatus) in(bucket).getFileStatus(at(bucket, key))).getVersionId());
    }

    private static void write(FSDataOutputStreamBuilder<?, ?> file, byte[] body) throws IOException {
        try (FSDataOutputStream stream = file.build()) {
            stream.write(body);
        }
    }

    /** The ETag in the list, which is another request's than the one in `head`. */
    private String listed(String bucket, String key) throws IOException {
        RemoteIterator<? extends FileStatus> found = in(bucket).listFiles(at(bucket, key).getParent(), false);
        while (found.hasNext()) {
            FileStatus status = found.next();
            if (key(status.getPath()).equals(key)) {
                return ((EtagSource) status).getEtag();
            }
        }
        throw new AssertionError("the list lacks " + key);
    }

    /** A checksum is asked for by a setting of the whole file system, which then checks what it reads too. */
    private void putChecked(String bucket, String key, Put put) throws IOException {
        Configuration checking = new Configuration(settings);
        checking.set("fs.s3a.create.checksum.algorithm", put.checksum());
        checking.setBoolean("fs.s3a.checksum.validation", true);
        try (FileSystem files = FileSystem.newInstance(URI.create("s3a://" + bucket), checking)) {
            write(files.createFile(at(bucket, key)).overwrite(true), put.body());
            try (FSDataInputStream stream = files.open(at(bucket, key))) {
                sameBytes("what is read with checks", stream.readAllBytes(), put.body());
            }
        }
    }

    @Override
    public byte[] get(String bucket, String key, String version, Range range) throws Exception {
        if (version != null) {
            throw new Absent("S3A neither lists versions nor opens one by its id");
        }
        try (FSDataInputStream stream = in(bucket).open(at(bucket, key))) {
            if (range == null) {
                return stream.readAllBytes();
            }
            long end = range.last() == null ? in(bucket).getFileStatus(at(bucket, key)).getLen() : range.last() + 1;
            byte[] read = new byte[(int) (end - range.first())];
            stream.readFully(range.first(), read);
            // Columnar formats read so: many ranges at once.
            FileRange vector = FileRange.createFileRange(range.first(), read.length);
            stream.readVectored(List.of(vector), ByteBuffer::allocate);
            sameBytes("the vectored read", vector.getData().get().array(), read);
            return read;
        }
    }

    @Override
    public Head head(String bucket, String key) throws Exception {
        FileStatus status = in(bucket).getFileStatus(at(bucket, key));
        Map<String, String> attributes = new HashMap<>();
        in(bucket).getXAttrs(at(bucket, key)).forEach((name, value) -> attributes.put(name.substring("header.".length()), new String(value, StandardCharsets.UTF_8)));
        Map<String, String> metadata = new HashMap<>(attributes);
        // S3's own have capitals, what users said has none.
        metadata.keySet().removeIf(name -> Character.isUpperCase(name.charAt(0)) || name.startsWith("x-amz-"));
        return new Head(status.getLen(), ((EtagSource) status).getEtag(), attributes.get("Content-Type"), attributes.get("Cache-Control"),
                attributes.get("Content-Disposition"), attributes.get("Content-Encoding"), metadata);
    }

    @Override
    public void delete(String bucket, String key, String version) throws Exception {
        same("whether something was deleted", in(bucket).delete(at(bucket, key), false), true);
    }

    @Override
    public void deleteMany(String bucket, List<String> keys) throws Exception {
        try (BulkDelete bulk = in(bucket).createBulkDelete(at(bucket, keys.get(0)).getParent())) {
            same("what could not be deleted", bulk.bulkDelete(keys.stream().map(key -> at(bucket, key)).toList()), List.of());
        }
    }

    @Override
    public Listing list(String bucket, String prefix, String delimiter) throws Exception {
        Listing listing = new Listing(new ArrayList<>(), new ArrayList<>());
        if (delimiter != null) {
            for (FileStatus status : in(bucket).listStatus(at(bucket, prefix))) {
                add(listing, status);
            }
            return listing;
        }
        RemoteIterator<? extends FileStatus> found = in(bucket).listFiles(at(bucket, prefix), true);
        while (found.hasNext()) {
            add(listing, found.next());
        }
        return listing;
    }

    private static void add(Listing listing, FileStatus status) {
        if (status.isDirectory()) {
            listing.prefixes().add(key(status.getPath()) + "/");
        } else {
            listing.entries().add(new Entry(key(status.getPath()), status.getLen()));
        }
    }

    @Override
    public void upload(String bucket, String key, java.nio.file.Path file) throws Exception {
        in(bucket).copyFromLocalFile(new Path(file.toUri()), at(bucket, key));
    }

    @Override
    public void uploadStream(String bucket, String key, InputStream stream) throws Exception {
        try (FSDataOutputStream file = in(bucket).create(at(bucket, key), true)) {
            stream.transferTo(file);
        }
    }

    @Override
    public void download(String bucket, String key, java.nio.file.Path file) throws Exception {
        in(bucket).copyToLocalFile(false, at(bucket, key), new Path(file.toUri()), true);
    }

    @Override
    public String startUpload(String bucket, String key, byte[] part) throws Exception {
        try (MultipartUploader uploader = uploader(bucket, key)) {
            UploadHandle upload = uploader.startUpload(at(bucket, key)).get();
            uploader.putPart(upload, 1, false, at(bucket, key), new ByteArrayInputStream(part), part.length).get();
            return new String(upload.toByteArray(), StandardCharsets.UTF_8);
        }
    }

    @Override
    public void abortUpload(String bucket, String key, String id) throws Exception {
        try (MultipartUploader uploader = uploader(bucket, key)) {
            uploader.abort(BBUploadHandle.from(ByteBuffer.wrap(id.getBytes(StandardCharsets.UTF_8))), at(bucket, key)).get();
        }
    }

    private MultipartUploader uploader(String bucket, String key) throws IOException {
        return in(bucket).createMultipartUploader(at(bucket, key).getParent()).build();
    }

    @Override
    public List<String> uploads(String bucket, String prefix) throws Exception {
        List<String> ids = new ArrayList<>();
        // It asks for directories: whatever stands before the last slash.
        RemoteIterator<MultipartUpload> found = ((S3AFileSystem) in(bucket)).listUploads(key(at(bucket, prefix).getParent()));
        while (found.hasNext()) {
            ids.add(found.next().uploadId());
        }
        return ids;
    }

    @Override
    public int status(Exception error) {
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            if (cause instanceof AwsServiceException failed) {
                return failed.statusCode();
            }
        }
        return error instanceof FileNotFoundException ? 404 : 0;
    }

    @Override
    public List<String> checksums() {
        return List.of("CRC32C", "SHA256");
    }

    @Override
    public boolean suffixRanges() {
        return false;
    }

    @Override
    public Map<String, Scenario> jobs() {
        Path base = at(told.bucket(), told.prefix());
        return Map.of("rename", () -> new Rename(told, settings, new Path(base, "rename")).run(),
                "committers", () -> new Committers(told, settings, new Path(base, "committers")).run());
    }

    @Override
    public void copy(String bucket, String source, String target) throws Exception {
        throw new Absent("a FileSystem has no copy: a rename copies on the server, and then deletes (the job `rename`)");
    }

    @Override
    public List<Version> listVersions(String bucket, String prefix) throws Exception {
        throw new Absent("S3A lists no versions");
    }

    @Override
    public void setTags(String bucket, String key, Map<String, String> tags) throws Exception {
        throw new Absent("S3A has no tags");
    }

    @Override
    public Map<String, String> tags(String bucket, String key) throws Exception {
        throw new Absent("S3A has no tags");
    }

    @Override
    public void removeTags(String bucket, String key) throws Exception {
        throw new Absent("S3A has no tags");
    }

    @Override
    public String presignGet(String bucket, String key) throws Exception {
        throw new Absent("S3A presigns no URLs");
    }

    @Override
    public String presignPut(String bucket, String key) throws Exception {
        throw new Absent("S3A presigns no URLs");
    }

    @Override
    public void sync(String bucket, String prefix, java.nio.file.Path tree) throws Exception {
        throw new Absent("a FileSystem has no sync; DistCp is a program of its own");
    }
}

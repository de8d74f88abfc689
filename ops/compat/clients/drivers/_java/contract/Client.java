package contract;

import contract.Contract.Absent;
import java.io.InputStream;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

/** One S3 client, each call made as its own documentation does and with its own defaults. */
public interface Client {
    /** A body and what is said of it; null is nothing said. */
    record Put(byte[] body, String contentType, String cacheControl, String contentDisposition, String contentEncoding,
            Map<String, String> metadata, Map<String, String> tags, boolean ifAbsent, String checksum) {

        static Put of(byte[] body) {
            return new Put(body, null, null, null, null, Map.of(), null, false, null);
        }

        Put tags(Map<String, String> tags) {
            return new Put(body, contentType, cacheControl, contentDisposition, contentEncoding, metadata, tags, ifAbsent, checksum);
        }

        Put onlyIfAbsent() {
            return new Put(body, contentType, cacheControl, contentDisposition, contentEncoding, metadata, tags, true, checksum);
        }

        Put checksum(String algorithm) {
            return new Put(body, contentType, cacheControl, contentDisposition, contentEncoding, metadata, tags, ifAbsent, algorithm);
        }
    }

    record Stored(String etag, String version) {}

    record Head(long size, String etag, String contentType, String cacheControl, String contentDisposition, String contentEncoding,
            Map<String, String> metadata) {}

    /** First to last byte, both included; a null last is open, a null first the last `last` bytes. */
    record Range(Long first, Long last) {
        public String header() {
            return "bytes=" + (first == null ? "" : first) + "-" + (last == null ? "" : last);
        }
    }

    record Entry(String key, long size) {}

    record Listing(List<Entry> entries, List<String> prefixes) {}

    record Version(String key, String id, boolean latest, boolean marker) {}

    Stored put(String bucket, String key, Put put) throws Exception;

    /** `version` and `range` may be null. */
    byte[] get(String bucket, String key, String version, Range range) throws Exception;

    Head head(String bucket, String key) throws Exception;

    void delete(String bucket, String key, String version) throws Exception;

    void deleteMany(String bucket, List<String> keys) throws Exception;

    Listing list(String bucket, String prefix, String delimiter) throws Exception;

    List<Version> listVersions(String bucket, String prefix) throws Exception;

    void upload(String bucket, String key, Path file) throws Exception;

    void uploadStream(String bucket, String key, InputStream stream) throws Exception;

    void download(String bucket, String key, Path file) throws Exception;

    void copy(String bucket, String source, String target) throws Exception;

    /** The client's own way for objects beyond one copy request. */
    default void copyLarge(String bucket, String source, String target) throws Exception {
        copy(bucket, source, target);
    }

    void setTags(String bucket, String key, Map<String, String> tags) throws Exception;

    Map<String, String> tags(String bucket, String key) throws Exception;

    void removeTags(String bucket, String key) throws Exception;

    String presignGet(String bucket, String key) throws Exception;

    String presignPut(String bucket, String key) throws Exception;

    /** Begins an upload of parts with one part and tells its id. */
    String startUpload(String bucket, String key, byte[] part) throws Exception;

    void abortUpload(String bucket, String key, String id) throws Exception;

    List<String> uploads(String bucket, String prefix) throws Exception;

    /** The status of S3's error, or 0. */
    int status(Exception error);

    /** Checksums that can be asked for at a put. */
    List<String> checksums();

    /** Whether it has a call for the last bytes of an object. */
    default boolean suffixRanges() {
        return true;
    }

    /** Sends a tree by the client's own sync. */
    default void sync(String bucket, String prefix, Path tree) throws Exception {
        throw new Absent("the SDK has no sync of a tree");
    }

    /** Whole jobs beside the scenarios, by their names. */
    default Map<String, Contract.Scenario> jobs() {
        return Map.of();
    }
}

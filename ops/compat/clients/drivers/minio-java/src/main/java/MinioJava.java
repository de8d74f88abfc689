import contract.Client;
import contract.Contract.Told;
import contract.Scenarios;
import io.minio.ComposeObjectArgs;
import io.minio.ComposeSource;
import io.minio.CopyObjectArgs;
import io.minio.CopySource;
import io.minio.DeleteObjectTagsArgs;
import io.minio.DownloadObjectArgs;
import io.minio.GetObjectArgs;
import io.minio.GetObjectTagsArgs;
import io.minio.GetPresignedObjectUrlArgs;
import io.minio.ListObjectsArgs;
import io.minio.MinioAsyncClient;
import io.minio.MinioClient;
import io.minio.ObjectWriteResponse;
import io.minio.PutObjectArgs;
import io.minio.RemoveObjectArgs;
import io.minio.RemoveObjectsArgs;
import io.minio.Result;
import io.minio.SetObjectTagsArgs;
import io.minio.StatObjectArgs;
import io.minio.StatObjectResponse;
import io.minio.UploadObjectArgs;
import io.minio.errors.ErrorResponseException;
import io.minio.http.Method;
import io.minio.messages.DeleteError;
import io.minio.messages.DeleteObject;
import io.minio.messages.Item;
import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** minio-java. Its asynchronous client has the calls for parts. */
public final class MinioJava implements Client {
    // What it wants to be told with a stream of unknown length, as its documentation does.
    private static final long PART = 10485760;

    private final MinioClient minio;
    private final MinioAsyncClient parts;

    private MinioJava(Told told) {
        minio = MinioClient.builder().endpoint(told.endpoint()).region(told.region()).credentials(told.access_key(), told.secret_key()).build();
        parts = MinioAsyncClient.builder().endpoint(told.endpoint()).region(told.region()).credentials(told.access_key(), told.secret_key()).build();
        if (!told.pathStyle()) {
            minio.enableVirtualStyleEndpoint();
            parts.enableVirtualStyleEndpoint();
        }
    }

    public static void main(String[] arguments) throws Exception {
        Scenarios.main(MinioJava::new);
    }

    @Override
    public Stored put(String bucket, String key, Put put) throws Exception {
        Map<String, String> headers = new HashMap<>();
        headers.put("Cache-Control", put.cacheControl());
        headers.put("Content-Disposition", put.contentDisposition());
        headers.put("Content-Encoding", put.contentEncoding());
        headers.put("If-None-Match", put.ifAbsent() ? "*" : null);
        headers.values().removeIf(value -> value == null);
        PutObjectArgs.Builder request = PutObjectArgs.builder().bucket(bucket).object(key).headers(headers).userMetadata(put.metadata())
                .stream(new ByteArrayInputStream(put.body()), put.body().length, -1);
        if (put.contentType() != null) {
            request.contentType(put.contentType());
        }
        if (put.tags() != null) {
            request.tags(put.tags());
        }
        ObjectWriteResponse answer = minio.putObject(request.build());
        return new Stored(answer.etag(), answer.versionId());
    }

    @Override
    public byte[] get(String bucket, String key, String version, Range range) throws Exception {
        GetObjectArgs.Builder request = GetObjectArgs.builder().bucket(bucket).object(key).versionId(version);
        if (range != null) {
            request.offset(range.first());
            if (range.last() != null) {
                request.length(range.last() - range.first() + 1);
            }
        }
        try (InputStream body = minio.getObject(request.build())) {
            return body.readAllBytes();
        }
    }

    @Override
    public Head head(String bucket, String key) throws Exception {
        StatObjectResponse answer = minio.statObject(StatObjectArgs.builder().bucket(bucket).object(key).build());
        return new Head(answer.size(), answer.etag(), answer.contentType(), answer.headers().get("Cache-Control"),
                answer.headers().get("Content-Disposition"), answer.headers().get("Content-Encoding"), answer.userMetadata());
    }

    @Override
    public void delete(String bucket, String key, String version) throws Exception {
        minio.removeObject(RemoveObjectArgs.builder().bucket(bucket).object(key).versionId(version).build());
    }

    @Override
    public void deleteMany(String bucket, List<String> keys) throws Exception {
        List<DeleteObject> objects = keys.stream().map(DeleteObject::new).toList();
        // Nothing is sent before the answer is read.
        for (Result<DeleteError> failed : minio.removeObjects(RemoveObjectsArgs.builder().bucket(bucket).objects(objects).build())) {
            throw new AssertionError(failed.get().message());
        }
    }

    @Override
    public Listing list(String bucket, String prefix, String delimiter) throws Exception {
        Listing listing = new Listing(new ArrayList<>(), new ArrayList<>());
        ListObjectsArgs request = ListObjectsArgs.builder().bucket(bucket).prefix(prefix).recursive(delimiter == null).build();
        for (Result<Item> found : minio.listObjects(request)) {
            Item item = found.get();
            if (item.isDir()) {
                listing.prefixes().add(item.objectName());
            } else {
                listing.entries().add(new Entry(item.objectName(), item.size()));
            }
        }
        return listing;
    }

    @Override
    public List<Version> listVersions(String bucket, String prefix) throws Exception {
        List<Version> versions = new ArrayList<>();
        ListObjectsArgs request = ListObjectsArgs.builder().bucket(bucket).prefix(prefix).recursive(true).includeVersions(true).build();
        for (Result<Item> found : minio.listObjects(request)) {
            Item item = found.get();
            versions.add(new Version(item.objectName(), item.versionId(), item.isLatest(), item.isDeleteMarker()));
        }
        return versions;
    }

    @Override
    public void upload(String bucket, String key, Path file) throws Exception {
        minio.uploadObject(UploadObjectArgs.builder().bucket(bucket).object(key).filename(file.toString()).build());
    }

    @Override
    public void uploadStream(String bucket, String key, InputStream stream) throws Exception {
        minio.putObject(PutObjectArgs.builder().bucket(bucket).object(key).stream(stream, -1, PART).build());
    }

    @Override
    public void download(String bucket, String key, Path file) throws Exception {
        minio.downloadObject(DownloadObjectArgs.builder().bucket(bucket).object(key).filename(file.toString()).build());
    }

    @Override
    public void copy(String bucket, String source, String target) throws Exception {
        minio.copyObject(CopyObjectArgs.builder().bucket(bucket).object(target).source(CopySource.builder().bucket(bucket).object(source).build())
                .build());
    }

    @Override
    public void copyLarge(String bucket, String source, String target) throws Exception {
        minio.composeObject(ComposeObjectArgs.builder().bucket(bucket).object(target)
                .sources(List.of(ComposeSource.builder().bucket(bucket).object(source).build())).build());
    }

    @Override
    public void setTags(String bucket, String key, Map<String, String> tags) throws Exception {
        minio.setObjectTags(SetObjectTagsArgs.builder().bucket(bucket).object(key).tags(tags).build());
    }

    @Override
    public Map<String, String> tags(String bucket, String key) throws Exception {
        return minio.getObjectTags(GetObjectTagsArgs.builder().bucket(bucket).object(key).build()).get();
    }

    @Override
    public void removeTags(String bucket, String key) throws Exception {
        minio.deleteObjectTags(DeleteObjectTagsArgs.builder().bucket(bucket).object(key).build());
    }

    @Override
    public String presignGet(String bucket, String key) throws Exception {
        return presign(Method.GET, bucket, key);
    }

    @Override
    public String presignPut(String bucket, String key) throws Exception {
        return presign(Method.PUT, bucket, key);
    }

    private String presign(Method method, String bucket, String key) throws Exception {
        return minio.getPresignedObjectUrl(GetPresignedObjectUrlArgs.builder().method(method).bucket(bucket).object(key).build());
    }

    @Override
    public String startUpload(String bucket, String key, byte[] part) throws Exception {
        String id = parts.createMultipartUploadAsync(bucket, null, key, null, null).join().result().uploadId();
        parts.uploadPartAsync(bucket, null, key, part, part.length, id, 1, null, null).join();
        return id;
    }

    @Override
    public void abortUpload(String bucket, String key, String id) throws Exception {
        parts.abortMultipartUploadAsync(bucket, null, key, id, null, null).join();
    }

    @Override
    public List<String> uploads(String bucket, String prefix) throws Exception {
        return parts.listMultipartUploadsAsync(bucket, null, null, "url", null, null, prefix, null, null, null).join().result().uploads().stream()
                .map(upload -> upload.uploadId()).toList();
    }

    @Override
    public int status(Exception error) {
        return error instanceof ErrorResponseException failed ? failed.response().code() : 0;
    }

    @Override
    public List<String> checksums() {
        return List.of();
    }

    @Override
    public boolean suffixRanges() {
        return false;
    }
}

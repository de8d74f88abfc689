package clients;

import contract.Contract.Told;
import contract.Scenarios;
import java.io.InputStream;
import java.net.URI;
import java.nio.file.Path;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.model.AbortMultipartUploadRequest;
import software.amazon.awssdk.services.s3.model.CopyObjectRequest;
import software.amazon.awssdk.services.s3.model.CreateMultipartUploadRequest;
import software.amazon.awssdk.services.s3.model.DeleteObjectRequest;
import software.amazon.awssdk.services.s3.model.DeleteObjectTaggingRequest;
import software.amazon.awssdk.services.s3.model.DeleteObjectsRequest;
import software.amazon.awssdk.services.s3.model.DeleteObjectsResponse;
import software.amazon.awssdk.services.s3.model.GetObjectRequest;
import software.amazon.awssdk.services.s3.model.GetObjectTaggingRequest;
import software.amazon.awssdk.services.s3.model.GetObjectTaggingResponse;
import software.amazon.awssdk.services.s3.model.HeadObjectRequest;
import software.amazon.awssdk.services.s3.model.HeadObjectResponse;
import software.amazon.awssdk.services.s3.model.ListMultipartUploadsRequest;
import software.amazon.awssdk.services.s3.model.ListMultipartUploadsResponse;
import software.amazon.awssdk.services.s3.model.ListObjectVersionsRequest;
import software.amazon.awssdk.services.s3.model.ListObjectVersionsResponse;
import software.amazon.awssdk.services.s3.model.ListObjectsV2Request;
import software.amazon.awssdk.services.s3.model.ListObjectsV2Response;
import software.amazon.awssdk.services.s3.model.PutObjectRequest;
import software.amazon.awssdk.services.s3.model.PutObjectResponse;
import software.amazon.awssdk.services.s3.model.PutObjectTaggingRequest;
import software.amazon.awssdk.services.s3.model.UploadPartRequest;

/** The blocking client: a file is one request. */
public final class Sync extends Aws {
    private final S3Client s3;

    private Sync(Told told) {
        super(told);
        s3 = S3Client.builder().endpointOverride(URI.create(told.endpoint())).region(Region.of(told.region()))
                .credentialsProvider(credentials(told)).forcePathStyle(told.pathStyle()).build();
    }

    public static void main(String[] arguments) throws Exception {
        Scenarios.main(Sync::new);
    }

    @Override
    public void upload(String bucket, String key, Path file) {
        s3.putObject(put -> put.bucket(bucket).key(key), RequestBody.fromFile(file));
    }

    @Override
    public void uploadStream(String bucket, String key, InputStream stream) {
        s3.putObject(put -> put.bucket(bucket).key(key), RequestBody.fromContentProvider(() -> stream, "application/octet-stream"));
    }

    @Override
    public void download(String bucket, String key, Path file) {
        s3.getObject(get -> get.bucket(bucket).key(key), file);
    }

    @Override
    PutObjectResponse send(PutObjectRequest request, byte[] body) {
        return s3.putObject(request, RequestBody.fromBytes(body));
    }

    @Override
    byte[] send(GetObjectRequest request) {
        return s3.getObjectAsBytes(request).asByteArray();
    }

    @Override
    HeadObjectResponse send(HeadObjectRequest request) {
        return s3.headObject(request);
    }

    @Override
    void send(DeleteObjectRequest request) {
        s3.deleteObject(request);
    }

    @Override
    DeleteObjectsResponse send(DeleteObjectsRequest request) {
        return s3.deleteObjects(request);
    }

    @Override
    Iterable<ListObjectsV2Response> send(ListObjectsV2Request request) {
        return s3.listObjectsV2Paginator(request);
    }

    @Override
    ListObjectVersionsResponse send(ListObjectVersionsRequest request) {
        return s3.listObjectVersions(request);
    }

    @Override
    void send(CopyObjectRequest request) {
        s3.copyObject(request);
    }

    @Override
    void send(PutObjectTaggingRequest request) {
        s3.putObjectTagging(request);
    }

    @Override
    GetObjectTaggingResponse send(GetObjectTaggingRequest request) {
        return s3.getObjectTagging(request);
    }

    @Override
    void send(DeleteObjectTaggingRequest request) {
        s3.deleteObjectTagging(request);
    }

    @Override
    String send(CreateMultipartUploadRequest request) {
        return s3.createMultipartUpload(request).uploadId();
    }

    @Override
    void send(UploadPartRequest request, byte[] part) {
        s3.uploadPart(request, RequestBody.fromBytes(part));
    }

    @Override
    void send(AbortMultipartUploadRequest request) {
        s3.abortMultipartUpload(request);
    }

    @Override
    ListMultipartUploadsResponse send(ListMultipartUploadsRequest request) {
        return s3.listMultipartUploads(request);
    }
}

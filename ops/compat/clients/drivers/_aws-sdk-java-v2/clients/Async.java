package clients;

import contract.Contract.Told;
import java.io.InputStream;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import software.amazon.awssdk.core.async.AsyncRequestBody;
import software.amazon.awssdk.core.async.AsyncResponseTransformer;
import software.amazon.awssdk.services.s3.S3AsyncClient;
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

/** An asynchronous client, waited for; which one is its maker's choice. */
class Async extends Aws {
    // What reads streams for the SDK.
    static final ExecutorService READERS = Executors.newCachedThreadPool();

    final S3AsyncClient s3;

    Async(Told told, S3AsyncClient s3) {
        super(told);
        this.s3 = s3;
    }

    @Override
    public void upload(String bucket, String key, Path file) {
        s3.putObject(put -> put.bucket(bucket).key(key), AsyncRequestBody.fromFile(file)).join();
    }

    @Override
    public void uploadStream(String bucket, String key, InputStream stream) throws Exception {
        s3.putObject(put -> put.bucket(bucket).key(key), unknownLength(stream)).join();
    }

    static AsyncRequestBody unknownLength(InputStream stream) {
        return AsyncRequestBody.fromInputStream(body -> body.inputStream(stream).contentLength(null).executor(READERS));
    }

    @Override
    public void download(String bucket, String key, Path file) {
        s3.getObject(get -> get.bucket(bucket).key(key), file).join();
    }

    @Override
    PutObjectResponse send(PutObjectRequest request, byte[] body) {
        return s3.putObject(request, AsyncRequestBody.fromBytes(body)).join();
    }

    @Override
    byte[] send(GetObjectRequest request) {
        return s3.getObject(request, AsyncResponseTransformer.toBytes()).join().asByteArray();
    }

    @Override
    HeadObjectResponse send(HeadObjectRequest request) {
        return s3.headObject(request).join();
    }

    @Override
    void send(DeleteObjectRequest request) {
        s3.deleteObject(request).join();
    }

    @Override
    DeleteObjectsResponse send(DeleteObjectsRequest request) {
        return s3.deleteObjects(request).join();
    }

    @Override
    Iterable<ListObjectsV2Response> send(ListObjectsV2Request request) {
        List<ListObjectsV2Response> pages = new ArrayList<>();
        s3.listObjectsV2Paginator(request).subscribe(pages::add).join();
        return pages;
    }

    @Override
    ListObjectVersionsResponse send(ListObjectVersionsRequest request) {
        return s3.listObjectVersions(request).join();
    }

    @Override
    void send(CopyObjectRequest request) {
        s3.copyObject(request).join();
    }

    @Override
    void send(PutObjectTaggingRequest request) {
        s3.putObjectTagging(request).join();
    }

    @Override
    GetObjectTaggingResponse send(GetObjectTaggingRequest request) {
        return s3.getObjectTagging(request).join();
    }

    @Override
    void send(DeleteObjectTaggingRequest request) {
        s3.deleteObjectTagging(request).join();
    }

    @Override
    String send(CreateMultipartUploadRequest request) {
        return s3.createMultipartUpload(request).join().uploadId();
    }

    @Override
    void send(UploadPartRequest request, byte[] part) {
        s3.uploadPart(request, AsyncRequestBody.fromBytes(part)).join();
    }

    @Override
    void send(AbortMultipartUploadRequest request) {
        s3.abortMultipartUpload(request).join();
    }

    @Override
    ListMultipartUploadsResponse send(ListMultipartUploadsRequest request) {
        return s3.listMultipartUploads(request).join();
    }
}

package clients;

import contract.Client;
import contract.Contract.Told;
import java.net.URI;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.awscore.exception.AwsServiceException;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.s3.S3Configuration;
import software.amazon.awssdk.services.s3.model.AbortMultipartUploadRequest;
import software.amazon.awssdk.services.s3.model.ChecksumAlgorithm;
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
import software.amazon.awssdk.services.s3.model.MultipartUpload;
import software.amazon.awssdk.services.s3.model.ObjectIdentifier;
import software.amazon.awssdk.services.s3.model.PutObjectRequest;
import software.amazon.awssdk.services.s3.model.PutObjectResponse;
import software.amazon.awssdk.services.s3.model.PutObjectTaggingRequest;
import software.amazon.awssdk.services.s3.model.Tag;
import software.amazon.awssdk.services.s3.model.Tagging;
import software.amazon.awssdk.services.s3.model.UploadPartRequest;
import software.amazon.awssdk.services.s3.presigner.S3Presigner;

/** The requests, which are the same for the SDK's blocking client and its asynchronous ones. */
abstract class Aws implements Client {
    private final S3Presigner presigner;

    Aws(Told told) {
        presigner = S3Presigner.builder().endpointOverride(URI.create(told.endpoint())).region(Region.of(told.region()))
                .credentialsProvider(credentials(told))
                .serviceConfiguration(S3Configuration.builder().pathStyleAccessEnabled(told.pathStyle()).build()).build();
    }

    static StaticCredentialsProvider credentials(Told told) {
        return StaticCredentialsProvider.create(AwsBasicCredentials.create(told.access_key(), told.secret_key()));
    }

    abstract PutObjectResponse send(PutObjectRequest request, byte[] body);

    abstract byte[] send(GetObjectRequest request);

    abstract HeadObjectResponse send(HeadObjectRequest request);

    abstract void send(DeleteObjectRequest request);

    abstract DeleteObjectsResponse send(DeleteObjectsRequest request);

    abstract Iterable<ListObjectsV2Response> send(ListObjectsV2Request request);

    abstract ListObjectVersionsResponse send(ListObjectVersionsRequest request);

    abstract void send(CopyObjectRequest request);

    abstract void send(PutObjectTaggingRequest request);

    abstract GetObjectTaggingResponse send(GetObjectTaggingRequest request);

    abstract void send(DeleteObjectTaggingRequest request);

    abstract String send(CreateMultipartUploadRequest request);

    abstract void send(UploadPartRequest request, byte[] part);

    abstract void send(AbortMultipartUploadRequest request);

    abstract ListMultipartUploadsResponse send(ListMultipartUploadsRequest request);

    @Override
    public Stored put(String bucket, String key, Put put) {
        PutObjectRequest.Builder request = PutObjectRequest.builder().bucket(bucket).key(key).contentType(put.contentType())
                .cacheControl(put.cacheControl()).contentDisposition(put.contentDisposition()).contentEncoding(put.contentEncoding())
                .metadata(put.metadata()).ifNoneMatch(put.ifAbsent() ? "*" : null);
        if (put.tags() != null) {
            request.tagging(tagging(put.tags()));
        }
        if (put.checksum() != null) {
            request.checksumAlgorithm(ChecksumAlgorithm.fromValue(put.checksum()));
        }
        PutObjectResponse answer = send(request.build(), put.body());
        return new Stored(answer.eTag(), answer.versionId());
    }

    @Override
    public byte[] get(String bucket, String key, String version, Range range) {
        return send(GetObjectRequest.builder().bucket(bucket).key(key).versionId(version).range(range == null ? null : range.header()).build());
    }

    @Override
    public Head head(String bucket, String key) {
        HeadObjectResponse answer = send(HeadObjectRequest.builder().bucket(bucket).key(key).build());
        return new Head(answer.contentLength(), answer.eTag(), answer.contentType(), answer.cacheControl(), answer.contentDisposition(),
                answer.contentEncoding(), answer.metadata());
    }

    @Override
    public void delete(String bucket, String key, String version) {
        send(DeleteObjectRequest.builder().bucket(bucket).key(key).versionId(version).build());
    }

    @Override
    public void deleteMany(String bucket, List<String> keys) {
        List<ObjectIdentifier> objects = keys.stream().map(key -> ObjectIdentifier.builder().key(key).build()).toList();
        DeleteObjectsResponse answer = send(DeleteObjectsRequest.builder().bucket(bucket).delete(delete -> delete.objects(objects)).build());
        if (!answer.errors().isEmpty()) {
            throw new AssertionError(answer.errors().get(0));
        }
    }

    @Override
    public Listing list(String bucket, String prefix, String delimiter) {
        Listing listing = new Listing(new ArrayList<>(), new ArrayList<>());
        for (ListObjectsV2Response page : send(ListObjectsV2Request.builder().bucket(bucket).prefix(prefix).delimiter(delimiter).build())) {
            page.contents().forEach(object -> listing.entries().add(new Entry(object.key(), object.size())));
            page.commonPrefixes().forEach(common -> listing.prefixes().add(common.prefix()));
        }
        return listing;
    }

    @Override
    public List<Version> listVersions(String bucket, String prefix) {
        ListObjectVersionsResponse answer = send(ListObjectVersionsRequest.builder().bucket(bucket).prefix(prefix).build());
        List<Version> versions = new ArrayList<>();
        answer.deleteMarkers().forEach(one -> versions.add(new Version(one.key(), one.versionId(), one.isLatest(), true)));
        answer.versions().forEach(one -> versions.add(new Version(one.key(), one.versionId(), one.isLatest(), false)));
        return versions;
    }

    @Override
    public void copy(String bucket, String source, String target) throws Exception {
        send(copyRequest(bucket, source, target));
    }

    static CopyObjectRequest copyRequest(String bucket, String source, String target) {
        return CopyObjectRequest.builder().sourceBucket(bucket).sourceKey(source).destinationBucket(bucket).destinationKey(target).build();
    }

    private static Tagging tagging(Map<String, String> tags) {
        return Tagging.builder().tagSet(tags.entrySet().stream().map(tag -> Tag.builder().key(tag.getKey()).value(tag.getValue()).build()).toList())
                .build();
    }

    @Override
    public void setTags(String bucket, String key, Map<String, String> tags) {
        send(PutObjectTaggingRequest.builder().bucket(bucket).key(key).tagging(tagging(tags)).build());
    }

    @Override
    public Map<String, String> tags(String bucket, String key) {
        Map<String, String> tags = new HashMap<>();
        send(GetObjectTaggingRequest.builder().bucket(bucket).key(key).build()).tagSet().forEach(tag -> tags.put(tag.key(), tag.value()));
        return tags;
    }

    @Override
    public void removeTags(String bucket, String key) {
        send(DeleteObjectTaggingRequest.builder().bucket(bucket).key(key).build());
    }

    @Override
    public String presignGet(String bucket, String key) {
        return presigner.presignGetObject(presign -> presign.signatureDuration(Duration.ofMinutes(15)).getObjectRequest(get -> get.bucket(bucket).key(key)))
                .url().toString();
    }

    @Override
    public String presignPut(String bucket, String key) {
        return presigner.presignPutObject(presign -> presign.signatureDuration(Duration.ofMinutes(15)).putObjectRequest(put -> put.bucket(bucket).key(key)))
                .url().toString();
    }

    @Override
    public String startUpload(String bucket, String key, byte[] part) {
        String id = send(CreateMultipartUploadRequest.builder().bucket(bucket).key(key).build());
        send(UploadPartRequest.builder().bucket(bucket).key(key).uploadId(id).partNumber(1).build(), part);
        return id;
    }

    @Override
    public void abortUpload(String bucket, String key, String id) {
        send(AbortMultipartUploadRequest.builder().bucket(bucket).key(key).uploadId(id).build());
    }

    @Override
    public List<String> uploads(String bucket, String prefix) {
        return send(ListMultipartUploadsRequest.builder().bucket(bucket).prefix(prefix).build()).uploads().stream()
                .map(MultipartUpload::uploadId).toList();
    }

    @Override
    public int status(Exception error) {
        Throwable cause = error instanceof java.util.concurrent.CompletionException ? error.getCause() : error;
        return cause instanceof AwsServiceException failed ? failed.statusCode() : 0;
    }

    @Override
    public List<String> checksums() {
        return List.of("CRC32C", "SHA256");
    }
}

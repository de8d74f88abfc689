package clients;

import contract.Contract.Told;
import contract.Scenarios;
import java.io.InputStream;
import java.net.URI;
import java.nio.file.Path;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.s3.S3AsyncClient;
import software.amazon.awssdk.transfer.s3.S3TransferManager;

/** The transfer manager over the SDK's own multipart client, which it takes where there is no Common Runtime. */
public final class TransferManager extends Async {
    private final S3TransferManager transfers;

    private TransferManager(Told told) {
        super(told, S3AsyncClient.builder().multipartEnabled(true).endpointOverride(URI.create(told.endpoint())).region(Region.of(told.region()))
                .credentialsProvider(credentials(told)).forcePathStyle(told.pathStyle()).build());
        transfers = S3TransferManager.builder().s3Client(s3).build();
    }

    public static void main(String[] arguments) throws Exception {
        Scenarios.main(TransferManager::new);
    }

    @Override
    public void upload(String bucket, String key, Path file) {
        transfers.uploadFile(upload -> upload.putObjectRequest(put -> put.bucket(bucket).key(key)).source(file)).completionFuture().join();
    }

    @Override
    public void uploadStream(String bucket, String key, InputStream stream) {
        transfers.upload(upload -> upload.putObjectRequest(put -> put.bucket(bucket).key(key)).requestBody(unknownLength(stream)))
                .completionFuture().join();
    }

    @Override
    public void download(String bucket, String key, Path file) {
        transfers.downloadFile(download -> download.getObjectRequest(get -> get.bucket(bucket).key(key)).destination(file)).completionFuture().join();
    }

    @Override
    public void copyLarge(String bucket, String source, String target) {
        transfers.copy(copy -> copy.copyObjectRequest(copyRequest(bucket, source, target))).completionFuture().join();
    }
}

package clients;

import contract.Scenarios;
import java.net.URI;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.s3.S3AsyncClient;

/** The asynchronous client as it is by default: on Netty, a file is one request. */
public final class Netty {
    public static void main(String[] arguments) throws Exception {
        Scenarios.main(told -> new Async(told, S3AsyncClient.builder().endpointOverride(URI.create(told.endpoint())).region(Region.of(told.region()))
                .credentialsProvider(Aws.credentials(told)).forcePathStyle(told.pathStyle()).build()));
    }

    private Netty() {}
}

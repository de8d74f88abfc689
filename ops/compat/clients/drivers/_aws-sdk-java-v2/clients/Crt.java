package clients;

import contract.Scenarios;
import java.net.URI;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.s3.S3AsyncClient;

/** The client on the AWS Common Runtime, which sends, fetches and copies what is large in parts by itself. */
public final class Crt {
    public static void main(String[] arguments) throws Exception {
        Scenarios.main(told -> new Async(told, S3AsyncClient.crtBuilder().endpointOverride(URI.create(told.endpoint())).region(Region.of(told.region()))
                .credentialsProvider(Aws.credentials(told)).forcePathStyle(told.pathStyle()).build()));
    }

    private Crt() {}
}

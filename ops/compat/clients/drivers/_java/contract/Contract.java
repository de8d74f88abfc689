package contract;

import com.google.gson.Gson;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What the Java drivers share: the runner's JSON in, a line a scenario out. */
public final class Contract {
    /** What the runner tells; `_java/start` has made a trust store of its CA. */
    public record Told(String endpoint, String scheme, String region, String addressing, String access_key, String secret_key,
            String bucket, String versioned_bucket, String prefix, String files, String work, List<String> scenarios, List<String> cannot_name) {

        public String key(String name) {
            return prefix + name;
        }

        public Path bodyPath(int size) {
            return Path.of(files, Integer.toString(size));
        }

        public byte[] body(int size) throws IOException {
            return Files.readAllBytes(bodyPath(size));
        }

        public boolean pathStyle() {
            return addressing.equals("path");
        }
    }

    /** Says what a client lacks; it ends a scenario as "absent". */
    public static final class Absent extends Exception {
        public Absent(String lack) {
            super(lack);
        }
    }

    /** A scenario: its detail, or an exception. */
    @FunctionalInterface
    public interface Scenario {
        String run() throws Exception;
    }

    public static Told read() {
        return new Gson().fromJson(new InputStreamReader(System.in, StandardCharsets.UTF_8), Told.class);
    }

    /** Runs what the runner asks for, and ends the process: clients keep threads. */
    public static void run(Told told, Map<String, Scenario> scenarios) {
        for (String name : told.scenarios()) {
            long began = System.nanoTime();
            Map<String, Object> said = new LinkedHashMap<>();
            said.put("scenario", name);
            try {
                Scenario scenario = scenarios.get(name);
                if (scenario == null) {
                    throw new IllegalArgumentException("not known to this driver");
                }
                String detail = scenario.run();
                said.put("result", "pass");
                said.put("detail", detail);
            } catch (Absent absent) {
                said.put("result", "absent");
                said.put("detail", absent.getMessage());
            } catch (Exception | AssertionError failed) {
                failed.printStackTrace();
                said.put("result", "fail");
                said.put("detail", failed.toString());
            }
            said.put("seconds", (System.nanoTime() - began) / 1e9);
            System.out.println(new Gson().toJson(said));
        }
        System.exit(0);
    }

    /** Uses a URL as somebody without any S3 client does. */
    static byte[] plainHttp(String method, String url, byte[] body) throws Exception {
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        HttpRequest.BodyPublisher sent = body == null ? HttpRequest.BodyPublishers.noBody() : HttpRequest.BodyPublishers.ofByteArray(body);
        HttpRequest request = HttpRequest.newBuilder(URI.create(url)).method(method, sent).build();
        HttpResponse<byte[]> answer = client.send(request, HttpResponse.BodyHandlers.ofByteArray());
        if (answer.statusCode() != 200) {
            throw new IOException(method + " by its URL: " + answer.statusCode() + " " + new String(answer.body(), StandardCharsets.UTF_8));
        }
        return answer.body();
    }

    public static void same(String what, Object got, Object want) {
        if (!got.equals(want)) {
            throw new AssertionError(what + ": " + got + " instead of " + want);
        }
    }

    /** Bodies are compared without printing them. */
    public static void sameBytes(String what, byte[] got, byte[] want) {
        if (!java.util.Arrays.equals(got, want)) {
            throw new AssertionError(what + ": " + got.length + " bytes that are not the " + want.length + " put");
        }
    }

    private Contract() {}
}

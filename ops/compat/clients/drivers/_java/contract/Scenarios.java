package contract;

import static contract.Contract.same;
import static contract.Contract.sameBytes;

import contract.Client.Entry;
import contract.Client.Listing;
import contract.Client.Put;
import contract.Client.Range;
import contract.Client.Stored;
import contract.Client.Version;
import contract.Contract.Scenario;
import contract.Contract.Told;
import java.io.InputStream;
import java.io.SequenceInputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;

/** What every Java client does, in the words of a {@link Client}. */
public final class Scenarios {
    private static final int LARGE = 68157440;
    private static final int[] SIZES = {0, 1, 65535, 65536, 65537, 5242879, 5242880, 5242881};
    private static final List<String> NAMES = List.of("plain", "with space", "plus+sign", "percent%20kept", "percent%2Fslash", "ünïcödé", "日本語",
            "emoji-😀", "a//b", "trailing.", "semi;colon", "at@amp&eq=q?hash#", "quote'\"", "<xml>&amp;", "tilde~(paren)!*", "back\\slash");

    private final Client client;
    private final Told told;
    private final String bucket;

    /** A client of what the runner tells. */
    public interface Connect {
        Client to(Told told) throws Exception;
    }

    public static void main(Connect connect) throws Exception {
        Told told = Contract.read();
        Client client = connect.to(told);
        Map<String, Scenario> all = new Scenarios(client, told).all();
        all.putAll(client.jobs());
        Contract.run(told, all);
    }

    private Scenarios(Client client, Told told) {
        this.client = client;
        this.told = told;
        this.bucket = told.bucket();
    }

    private interface Step {
        void run() throws Exception;
    }

    private Map<String, Scenario> all() {
        Map<String, Step> steps = new LinkedHashMap<>();
        steps.put("sizes", this::sizes);
        steps.put("multipart", this::multipart);
        steps.put("unknown_length", this::unknownLength);
        steps.put("ranges", this::ranges);
        steps.put("names", this::names);
        steps.put("delimiter", this::delimiter);
        steps.put("many", this::many);
        steps.put("copy", this::copy);
        steps.put("copy_large", this::copyLarge);
        steps.put("delete_many", this::deleteMany);
        steps.put("metadata", this::metadata);
        steps.put("tags", this::tags);
        steps.put("presigned_get", this::presignedGet);
        steps.put("presigned_put", this::presignedPut);
        steps.put("conditional_put", this::conditionalPut);
        steps.put("versions", this::versions);
        steps.put("checksums", this::checksums);
        steps.put("sync", () -> client.sync(bucket, told.key("sync/"), Path.of(told.work())));
        steps.put("abort", this::abort);
        Map<String, Scenario> scenarios = new HashMap<>();
        steps.forEach((name, step) -> scenarios.put(name, () -> {
            step.run();
            return "";
        }));
        return scenarios;
    }

    private void sizes() throws Exception {
        for (int size : SIZES) {
            byte[] body = told.body(size);
            String key = told.key("sizes/" + size);
            Stored stored = client.put(bucket, key, Put.of(body));
            holds(key, body);
            Client.Head head = client.head(bucket, key);
            same("the size in head", head.size(), (long) size);
            same("the ETag in head", bare(head.etag()), bare(stored.etag()));
            same("an empty ETag", bare(head.etag()).isEmpty(), false);
            client.delete(bucket, key, null);
            missing(bucket, key);
            client.put(bucket, told.key("sizes/kept-" + size), Put.of(body));
        }
    }

    private void multipart() throws Exception {
        client.upload(bucket, told.key("multipart/file"), told.bodyPath(LARGE));
        downloads("multipart/file");
    }

    private void unknownLength() throws Exception {
        // A sequence of streams tells neither length nor file, and cannot go back.
        try (InputStream stream = new SequenceInputStream(Files.newInputStream(told.bodyPath(LARGE)), InputStream.nullInputStream())) {
            client.uploadStream(bucket, told.key("unknown/stream"), stream);
        }
        downloads("unknown/stream");
    }

    private void ranges() throws Exception {
        byte[] body = told.body(LARGE);
        range(body, new Range(0L, 0L), 0, 1);
        range(body, new Range(65530L, 65545L), 65530, 65546);
        range(body, new Range(LARGE - 1L, LARGE - 1L), LARGE - 1, LARGE);
        if (client.suffixRanges()) {
            range(body, new Range(null, 70000L), LARGE - 70000, LARGE);
        }
        range(body, new Range(LARGE - 100000L, null), LARGE - 100000, LARGE);
    }

    private void range(byte[] body, Range range, int from, int to) throws Exception {
        sameBytes(range.header(), client.get(bucket, told.key("multipart/file"), null, range), Arrays.copyOfRange(body, from, to));
    }

    private void names() throws Exception {
        Map<String, Long> wanted = new HashMap<>();
        for (String name : NAMES) {
            if (told.cannot_name() != null && told.cannot_name().contains(name)) {
                continue;
            }
            byte[] body = text(name);
            client.put(bucket, told.key("names/" + name), Put.of(body));
            holds(told.key("names/" + name), body);
            wanted.put(told.key("names/" + name), (long) body.length);
        }
        for (Entry entry : client.list(bucket, told.key("names/"), null).entries()) {
            same("the size listed of " + entry.key(), entry.size(), wanted.getOrDefault(entry.key(), -1L));
            wanted.remove(entry.key());
        }
        same("names that the list lacks", wanted.keySet(), Map.of().keySet());
    }

    private void delimiter() throws Exception {
        for (String name : List.of("d/a/1", "d/a/2", "d/b/1", "d/top")) {
            client.put(bucket, told.key(name), Put.of(text(name)));
        }
        Listing listing = client.list(bucket, told.key("d/"), "/");
        same("the prefixes", listing.prefixes(), List.of(told.key("d/a/"), told.key("d/b/")));
        same("the keys", keys(listing), List.of(told.key("d/top")));
    }

    private void many() throws Exception {
        List<String> keys = keys(client.list(bucket, "many/", null));
        same("the number of keys", keys.size(), 1100);
        same("the keys in order and once", keys, List.copyOf(new TreeSet<>(keys)));
    }

    private void copy() throws Exception {
        byte[] body = told.body(65536);
        String target = told.key("copy/target");
        client.put(bucket, told.key("copy/source"), new Put(body, "text/x-copied", null, null, null, Map.of("origin", "source"), null, false, null));
        client.copy(bucket, told.key("copy/source"), target);
        holds(target, body);
        Client.Head head = client.head(bucket, target);
        same("the content type", head.contentType(), "text/x-copied");
        same("the metadata", head.metadata(), Map.of("origin", "source"));
    }

    private void copyLarge() throws Exception {
        client.copyLarge(bucket, told.key("multipart/file"), told.key("copy/large"));
        downloads("copy/large");
    }

    private void deleteMany() throws Exception {
        List<String> doomed = new ArrayList<>();
        for (int number = 0; number < 25; number++) {
            doomed.add(told.key("keep/doomed-" + number));
            client.put(bucket, doomed.get(number), Put.of(text("doomed")));
        }
        client.put(bucket, told.key("keep/one"), Put.of(text("kept")));
        client.deleteMany(bucket, doomed);
        same("the keys left", keys(client.list(bucket, told.key("keep/"), null)), List.of(told.key("keep/one")));
    }

    private void metadata() throws Exception {
        Map<String, String> said = Map.of("short", "value", "with-dash", "a b; c=d", "long", "v".repeat(200));
        client.put(bucket, told.key("metadata/one"), new Put(text("with metadata"), "text/x-contract", "max-age=60, private",
                "attachment; filename=\"a b.txt\"", "gzip", said, null, false, null));
        Client.Head head = client.head(bucket, told.key("metadata/one"));
        same("the headers", List.of(head.contentType(), head.cacheControl(), head.contentDisposition(), head.contentEncoding()),
                List.of("text/x-contract", "max-age=60, private", "attachment; filename=\"a b.txt\"", "gzip"));
        same("the metadata", new TreeMap<>(head.metadata()), new TreeMap<>(said));
    }

    private void tags() throws Exception {
        String key = told.key("tags/one");
        Map<String, String> first = Map.of("team", "a+b", "note", "with space");
        client.put(bucket, key, Put.of(text("tagged")).tags(first));
        same("the tags of the put", client.tags(bucket, key), first);
        client.setTags(bucket, key, Map.of("other", "x=y"));
        same("the tags by themselves", client.tags(bucket, key), Map.of("other", "x=y"));
        client.removeTags(bucket, key);
        same("the tags after their removal", client.tags(bucket, key), Map.of());
    }

    private void presignedGet() throws Exception {
        byte[] body = told.body(65536);
        client.put(bucket, told.key("presigned/get one"), Put.of(body));
        sameBytes("the body by its URL", Contract.plainHttp("GET", client.presignGet(bucket, told.key("presigned/get one")), null), body);
    }

    private void presignedPut() throws Exception {
        byte[] body = told.body(65536);
        Contract.plainHttp("PUT", client.presignPut(bucket, told.key("presigned/put")), body);
        holds(told.key("presigned/put"), body);
    }

    private void conditionalPut() throws Exception {
        String key = told.key("conditional/one");
        client.put(bucket, key, Put.of(text("first")).onlyIfAbsent());
        int status = 200;
        try {
            client.put(bucket, key, Put.of(text("second")).onlyIfAbsent());
        } catch (Exception error) {
            status = client.status(error);
        }
        same("the status of the second put", status, 412);
        holds(key, text("first"));
    }

    private void versions() throws Exception {
        String versioned = told.versioned_bucket();
        String key = told.key("versions/one");
        List<String> ids = new ArrayList<>();
        for (String body : List.of("first", "second")) {
            ids.add(client.put(versioned, key, Put.of(text(body))).version());
        }
        sameBytes("the first version", client.get(versioned, key, ids.get(0), null), text("first"));
        sameBytes("the second version", client.get(versioned, key, ids.get(1), null), text("second"));
        same("the versions listed", client.listVersions(versioned, key).subList(0, 2),
                List.of(new Version(key, ids.get(1), true, false), new Version(key, ids.get(0), false, false)));
        client.delete(versioned, key, null);
        missing(versioned, key);
        Version marker = client.listVersions(versioned, key).stream().filter(one -> one.marker() && one.latest()).findFirst().orElseThrow();
        client.delete(versioned, key, marker.id());
        client.delete(versioned, key, ids.get(1));
        sameBytes("what is left", client.get(versioned, key, null, null), text("first"));
    }

    private void checksums() throws Exception {
        byte[] body = told.body(65537);
        client.put(bucket, told.key("checksums/default"), Put.of(body));
        holds(told.key("checksums/default"), body);
        for (String algorithm : client.checksums()) {
            client.put(bucket, told.key("checksums/" + algorithm), Put.of(body).checksum(algorithm));
            holds(told.key("checksums/" + algorithm), body);
        }
    }

    private void abort() throws Exception {
        String key = told.key("abort/one");
        String id = client.startUpload(bucket, key, told.body(5242880));
        same("the upload is listed", client.uploads(bucket, key).contains(id), true);
        client.abortUpload(bucket, key, id);
        same("the upload is listed after its abort", client.uploads(bucket, key).contains(id), false);
        missing(bucket, key);
    }

    private void holds(String key, byte[] body) throws Exception {
        sameBytes("get of " + key, client.get(bucket, key, null, null), body);
    }

    private void downloads(String name) throws Exception {
        Path file = Path.of(told.work(), "downloaded");
        client.download(bucket, told.key(name), file);
        sameBytes(name, Files.readAllBytes(file), told.body(LARGE));
        Files.delete(file);
    }

    private void missing(String of, String key) throws Exception {
        int status = 200;
        try {
            client.head(of, key);
        } catch (Exception error) {
            status = client.status(error);
        }
        same("the status of head of what is gone", status, 404);
    }

    private static List<String> keys(Listing listing) {
        return listing.entries().stream().map(Entry::key).toList();
    }

    private static byte[] text(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String bare(String etag) {
        return etag.replace("\"", "");
    }
}

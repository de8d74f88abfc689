import static contract.Contract.same;
import static contract.Contract.sameBytes;

import contract.Contract.Told;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Stream;

/** What the jobs write and compare: files below `work/plain`, which the runner then looks for in the storage. */
final class Trees {
    private final Path plain;
    private final Random chance = new Random(1);

    Trees(Told told) {
        plain = Path.of(told.work(), "plain");
    }

    /** Random bytes, kept. */
    Path write(String name, int size) throws IOException {
        byte[] body = new byte[size];
        chance.nextBytes(body);
        return keep(name, body);
    }

    /** Lines of random digits, kept. */
    Path writeLines(String name, int count) throws IOException {
        StringBuilder lines = new StringBuilder();
        for (int number = 0; number < count; number++) {
            lines.append(String.format("%016x%016x%016x%016x\n", chance.nextLong(), chance.nextLong(), chance.nextLong(), chance.nextLong()));
        }
        return keep(name, lines.toString().getBytes());
    }

    private Path keep(String name, byte[] body) throws IOException {
        Path file = plain.resolve(name);
        Files.createDirectories(file.getParent());
        return Files.write(file, body);
    }

    /** The files below a directory, and the directories, which end in a slash. */
    private static TreeMap<String, Path> below(Path top) throws IOException {
        TreeMap<String, Path> found = new TreeMap<>();
        try (Stream<Path> all = Files.walk(top)) {
            all.filter(path -> !path.equals(top)).forEach(path -> found.put(top.relativize(path) + (Files.isDirectory(path) ? "/" : ""), path));
        }
        return found;
    }

    static int sameTrees(Path got, Path want) throws IOException {
        TreeMap<String, Path> found = below(got);
        TreeMap<String, Path> wanted = below(want);
        same("the names of the tree", new TreeSet<>(found.keySet()), new TreeSet<>(wanted.keySet()));
        for (String name : wanted.keySet()) {
            if (!name.endsWith("/")) {
                sameBytes(name, Files.readAllBytes(found.get(name)), Files.readAllBytes(wanted.get(name)));
            }
        }
        return wanted.size();
    }
}

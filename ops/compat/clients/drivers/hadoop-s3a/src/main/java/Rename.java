import static contract.Contract.same;

import contract.Contract.Told;
import java.io.IOException;
import java.nio.file.Files;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileAlreadyExistsException;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.s3a.S3AFileSystem;

/** Renames, which are copies on the server and then deletes: of a tree and of files, to what is free and to what is there, in one request and in parts. */
final class Rename {
    private static final int FILES = 60;

    private final Told told;
    private final Configuration settings;
    private final Path base;
    private final Trees trees;

    Rename(Told told, Configuration settings, Path base) {
        this.told = told;
        this.settings = settings;
        this.base = base;
        this.trees = new Trees(told);
    }

    String run() throws IOException {
        FileSystem files = base.getFileSystem(settings);
        java.nio.file.Path tree = java.nio.file.Path.of(told.work(), "plain", "tree");
        for (int number = 0; number < FILES; number++) {
            trees.write("tree/year=20" + number % 3 + "/month=" + number % 4 + "/part " + number, number * 1500);
        }
        trees.write("tree/large", 12 << 20);
        Files.createDirectories(tree.resolve("empty"));

        Path source = new Path(base, "source");
        Path target = new Path(base, "made/before/target");
        files.copyFromLocalFile(new Path(tree.toUri()), source);
        files.mkdirs(target.getParent());
        same("the rename of the tree", files.rename(source, target), true);
        same("what is left of it", files.exists(source), false);
        int names = holds(files, target, tree);

        // An empty directory is replaced, one with files in it and a file are not.
        Path inner = new Path(base, "inner");
        files.mkdirs(inner);
        same("the rename onto an empty directory", files.rename(target, inner), true);
        holds(files, inner, tree);
        same("the rename onto a directory with files", files.rename(new Path(inner, "year=201"), new Path(inner, "year=202")), false);
        refused(files, new Path(inner, "large"), new Path(inner, "year=200/month=0/part 0"));
        holds(files, inner, tree);
        // A file moves into a directory.
        same("the rename into a directory", files.rename(new Path(inner, "large"), new Path(inner, "year=200")), true);
        same("the rename out of it", files.rename(new Path(inner, "year=200/large"), new Path(inner, "large")), true);
        holds(files, inner, tree);

        inParts(inner, tree);
        return names + " files and directories, onto nothing and onto an empty directory; 12 MiB in parts";
    }

    /** With parts and their threshold at 5 MiB a copy is one of ranges. */
    private void inParts(Path tree, java.nio.file.Path want) throws IOException {
        Configuration small = new Configuration(settings);
        small.set("fs.s3a.multipart.size", "5M");
        small.set("fs.s3a.multipart.threshold", "5M");
        try (FileSystem files = FileSystem.newInstance(tree.toUri(), small)) {
            same("the rename in parts", files.rename(new Path(tree, "large"), new Path(tree, "larger")), true);
            same("the rename back", files.rename(new Path(tree, "larger"), new Path(tree, "large")), true);
            same("uploads left", ((S3AFileSystem) files).listUploads(HadoopS3a.key(base)).hasNext(), false);
            holds(files, tree, want);
        }
    }

    private static void refused(FileSystem files, Path source, Path target) throws IOException {
        try {
            files.rename(source, target);
        } catch (FileAlreadyExistsException refused) {
            return;
        }
        throw new AssertionError("a file was renamed onto another");
    }

    private int holds(FileSystem files, Path tree, java.nio.file.Path want) throws IOException {
        java.nio.file.Path got = Files.createTempDirectory(java.nio.file.Path.of(told.work()), "got").resolve("tree");
        files.copyToLocalFile(false, tree, new Path(got.toUri()), true);
        return Trees.sameTrees(got, want);
    }
}

import static contract.Contract.same;
import static contract.Contract.sameBytes;

import contract.Contract.Told;
import java.io.IOException;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.RemoteIterator;
import org.apache.hadoop.fs.s3a.S3AFileSystem;
import org.apache.hadoop.fs.s3a.commit.files.SuccessData;
import org.apache.hadoop.io.NullWritable;
import org.apache.hadoop.io.Text;
import org.apache.hadoop.mapreduce.Job;
import org.apache.hadoop.mapreduce.JobContext;
import org.apache.hadoop.mapreduce.JobID;
import org.apache.hadoop.mapreduce.JobStatus;
import org.apache.hadoop.mapreduce.OutputCommitter;
import org.apache.hadoop.mapreduce.RecordWriter;
import org.apache.hadoop.mapreduce.TaskAttemptContext;
import org.apache.hadoop.mapreduce.TaskAttemptID;
import org.apache.hadoop.mapreduce.TaskID;
import org.apache.hadoop.mapreduce.TaskType;
import org.apache.hadoop.mapreduce.lib.output.FileOutputFormat;
import org.apache.hadoop.mapreduce.lib.output.PathOutputCommitter;
import org.apache.hadoop.mapreduce.lib.output.TextOutputFormat;
import org.apache.hadoop.mapreduce.task.JobContextImpl;
import org.apache.hadoop.mapreduce.task.TaskAttemptContextImpl;

/** S3A's committers as MapReduce drives them: jobs and attempts of tasks that are committed and aborted. */
final class Committers {
    private static final int LARGE = 68157440;
    private static final int LINES = 5000;

    private final Told told;
    private final Configuration settings;
    private final Path base;
    private final Trees trees;
    private int jobs;

    Committers(Told told, Configuration settings, Path base) {
        this.told = told;
        this.settings = settings;
        this.base = base;
        this.trees = new Trees(told);
    }

    String run() throws Exception {
        for (String name : List.of("magic", "directory")) {
            committed(name);
            aborted(name);
        }
        return "magic and directory: 3 tasks with 65 MiB beside their lines, an attempt of each fate; a job committed and one aborted";
    }

    private void committed(String name) throws Exception {
        Run job = new Run(name, new Path(base, name));
        job.committer.setupJob(job.context);
        Map<String, java.nio.file.Path> wanted = new TreeMap<>();

        Attempt first = job.attempt(0, 0);
        wanted.put("part-m-00000", first.lines("first"));
        first.commit();
        // Beside its lines a task leaves a file of its own, larger than a part.
        Attempt second = job.attempt(1, 0);
        wanted.put("part-m-00001", second.lines("second"));
        wanted.put("deep/body", second.body("deep/body"));
        second.commit();
        // Two attempts at once, as in speculative execution: the one commits, the other's work goes.
        Attempt lost = job.attempt(2, 0);
        Attempt won = job.attempt(2, 1);
        lost.lines("lost");
        wanted.put("part-m-00002", won.lines("won"));
        won.commit();
        lost.abort();

        same(name + ": what is seen before the job's commit", job.results().keySet(), Map.of().keySet());
        job.committer.commitJob(job.context);
        job.holds(wanted);
        SuccessData success = SuccessData.load(job.files, new Path(job.output, "_SUCCESS"));
        same(name + ": the committer in _SUCCESS", success.getCommitter(), name);
        same(name + ": the files in _SUCCESS", success.getFilenames().size(), wanted.size());
        job.leftNothing();
    }

    private void aborted(String name) throws Exception {
        Run job = new Run(name, new Path(base, name + "-aborted"));
        job.committer.setupJob(job.context);
        Attempt done = job.attempt(0, 0);
        done.lines("done");
        done.commit();
        Attempt open = job.attempt(1, 0);
        open.body("open");
        // Whoever runs the job aborts what is still open first.
        open.abort();
        job.committer.abortJob(job.context, JobStatus.State.FAILED);
        same(name + ": what is seen of an aborted job", job.results().keySet(), Map.of().keySet());
        job.leftNothing();
    }

    /** One job: its settings, its output, and the committer that its master has. */
    private final class Run {
        final String name;
        final Path output;
        final FileSystem files;
        final JobID id = new JobID("202611301200", ++jobs);
        final Configuration configuration;
        final JobContext context;
        final OutputCommitter committer;

        Run(String name, Path output) throws IOException {
            this.name = name;
            this.output = output;
            files = output.getFileSystem(settings);
            Job job = Job.getInstance(settings);
            job.getConfiguration().set("fs.s3a.committer.name", name);
            FileOutputFormat.setOutputPath(job, output);
            configuration = job.getConfiguration();
            context = new JobContextImpl(configuration, id);
            committer = new TextOutputFormat<NullWritable, Text>().getOutputCommitter(attemptContext(0, 0));
            same("the committer", committer.getClass().getPackageName().startsWith("org.apache.hadoop.fs.s3a.commit"), true);
        }

        TaskAttemptContext attemptContext(int task, int attempt) {
            return new TaskAttemptContextImpl(configuration, new TaskAttemptID(new TaskID(id, TaskType.MAP, task), attempt));
        }

        Attempt attempt(int task, int attempt) throws Exception {
            return new Attempt(this, attemptContext(task, attempt));
        }

        /** What a reader of the output sees: no name that begins with a dot or an underscore. */
        Map<String, Path> results() throws IOException {
            Map<String, Path> found = new TreeMap<>();
            for (Path path : all()) {
                String relative = output.toUri().relativize(path.toUri()).getPath();
                if (!relative.startsWith("_") && !relative.startsWith(".")) {
                    found.put(relative, path);
                }
            }
            return found;
        }

        private List<Path> all() throws IOException {
            List<Path> paths = new ArrayList<>();
            if (files.exists(output)) {
                RemoteIterator<? extends FileStatus> found = files.listFiles(output, true);
                while (found.hasNext()) {
                    paths.add(found.next().getPath());
                }
            }
            return paths;
        }

        /** The staging committer puts the job's id behind the names. */
        void holds(Map<String, java.nio.file.Path> wanted) throws IOException {
            Map<String, Path> found = new TreeMap<>();
            results().forEach((relative, path) -> found.put(relative.replace("-" + id, ""), path));
            same(name + ": the results", found.keySet(), wanted.keySet());
            for (String relative : wanted.keySet()) {
                try (FSDataInputStream stream = files.open(found.get(relative))) {
                    sameBytes(name + ": " + relative, stream.readAllBytes(), Files.readAllBytes(wanted.get(relative)));
                }
            }
        }

        void leftNothing() throws IOException {
            same(name + ": uploads left", ((S3AFileSystem) files).listUploads(HadoopS3a.key(output)).hasNext(), false);
            same(name + ": work left", all().stream().filter(path -> path.toString().contains("__magic")).toList(), List.of());
        }
    }

    /** One attempt of a task. */
    private final class Attempt {
        private final Run job;
        private final TaskAttemptContext context;
        private final TextOutputFormat<NullWritable, Text> format = new TextOutputFormat<>();
        private final PathOutputCommitter committer;

        Attempt(Run job, TaskAttemptContext context) throws Exception {
            this.job = job;
            this.context = context;
            committer = (PathOutputCommitter) format.getOutputCommitter(context);
            committer.setupTask(context);
        }

        java.nio.file.Path lines(String called) throws Exception {
            java.nio.file.Path kept = trees.writeLines(job.name + "-" + called, LINES);
            RecordWriter<NullWritable, Text> writer = format.getRecordWriter(context);
            for (String line : Files.readAllLines(kept)) {
                writer.write(NullWritable.get(), new Text(line));
            }
            writer.close(context);
            return kept;
        }

        java.nio.file.Path body(String relative) throws IOException {
            Path path = new Path(committer.getWorkPath(), relative);
            try (var stream = path.getFileSystem(job.configuration).create(path)) {
                Files.copy(told.bodyPath(LARGE), stream);
            }
            return told.bodyPath(LARGE);
        }

        void commit() throws IOException {
            same(job.name + ": whether it has to be committed", committer.needsTaskCommit(context), true);
            committer.commitTask(context);
        }

        void abort() throws IOException {
            committer.abortTask(context);
        }
    }
}

/* The floor: the least C program that does the kernel work of a finished `run`. What a chapter takes beyond it is
 * what our own code costs.
 *
 *     floor [-w] [-v SOURCE] IMAGE STATE_DIRECTORY COMMAND [ARG...]
 *
 * Five namespaces, a memory limit of 100 MB that the child joins by itself, an overlay workspace, pivot_root, /proc,
 * /dev with its nodes, exec, wait, clean up. It parses nothing, logs nothing, guards against nothing and leaves
 * everything behind when it fails: do not use it for anything but a measurement.
 *
 * With -w it does the whole of what chapter 5 asks of the kernel: it also finds the hierarchy in mountinfo, keeps its
 * cgroup in a directory for all containers, limits swap too, locks what it makes, mounts its overlay volatile, sets
 * the hostname, closes inherited descriptors, makes /dev/fd and its like, takes stdin from /dev/null, leaves the
 * session, resets signals, dies with its parent, and asks how many processes ran out of memory.
 *
 * With -v it mounts SOURCE on /volume, a directory that it makes for that.
 *
 * Build: cc -O2 -static -o floor floor.c
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

/* Every call must work, or the time means nothing. */
#define MUST(call)                 \
    do {                           \
        if ((call) < 0) {          \
            perror("floor: " #call); \
            _exit(125);            \
        }                          \
    } while (0)

static int whole;
static char **command;
static const char *volume;
static char directory[256], upper[300], work[300], merged[300], options[1200];
static char cgroup[256], parent_cgroup[200];
static const char *join_file, *limit_file, *swap_file, *swap_limit, *oom_file;
static int gate[2];

static void put(const char *in, const char *name, const char *text) {
    char path[600];
    int file;
    snprintf(path, sizeof path, "%s/%s", in, name);
    MUST(file = open(path, O_WRONLY | O_CLOEXEC));
    MUST(write(file, text, strlen(text)));
    close(file);
}

static void read_through(const char *path) {
    static char text[65536];
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    while (read(file, text, sizeof text) > 0)
        ;
    close(file);
}

static int lock(const char *path) {
    int file;
    MUST(file = open(path, O_RDONLY | O_CLOEXEC));
    MUST(flock(file, LOCK_EX | LOCK_NB));
    return file;
}

static void close_descriptors(void) {
    if (syscall(SYS_close_range, 3, ~0U, 0) < 0) /* before Linux 5.9 */
        for (int fd = 3; fd < 1024; fd++)
            close(fd);
}

static void mount_overlay(void) {
    char volatile_options[sizeof options + 10];
    snprintf(volatile_options, sizeof volatile_options, "%s,volatile", options);
    if (whole && mount("overlay", merged, "overlay", 0, volatile_options) == 0)
        return;
    MUST(mount("overlay", merged, "overlay", 0, options)); /* or before Linux 5.10 */
}

static int child(void *unused) {
    char byte;
    (void)unused;
    close(gate[1]);
    if (whole)
        MUST(prctl(PR_SET_PDEATHSIG, SIGKILL));
    if (read(gate[0], &byte, 1) != 1)
        _exit(125);
    put(cgroup, join_file, "0");
    if (whole)
        MUST(setsid());
    MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    mount_overlay();
    if (whole)
        close_descriptors();
    MUST(chdir(merged));
    if (volume) {
        MUST(mkdir("volume", 0755));
        MUST(mount(volume, "volume", NULL, MS_BIND | MS_REC, NULL));
    }
    mkdir("proc", 0755); /* most images have them */
    mkdir("dev", 0755);
    MUST(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
    MUST(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755"));
    umask(0);
    MUST(mknod("dev/null", S_IFCHR | 0666, makedev(1, 3)));
    MUST(mknod("dev/zero", S_IFCHR | 0666, makedev(1, 5)));
    MUST(mknod("dev/full", S_IFCHR | 0666, makedev(1, 7)));
    MUST(mknod("dev/random", S_IFCHR | 0666, makedev(1, 8)));
    MUST(mknod("dev/urandom", S_IFCHR | 0666, makedev(1, 9)));
    MUST(mknod("dev/tty", S_IFCHR | 0666, makedev(5, 0)));
    umask(022);
    MUST(syscall(SYS_pivot_root, ".", "."));
    MUST(umount2(".", MNT_DETACH));
    MUST(chdir("/"));
    if (whole) {
        int null;
        MUST(symlink("/proc/self/fd", "/dev/fd"));
        MUST(symlink("/proc/self/fd/0", "/dev/stdin"));
        MUST(symlink("/proc/self/fd/1", "/dev/stdout"));
        MUST(symlink("/proc/self/fd/2", "/dev/stderr"));
        MUST(sethostname("floor", 5));
        MUST(null = open("/dev/null", O_RDONLY));
        MUST(dup2(null, 0));
        close(null);
        for (int number = 1; number < 32; number++)
            signal(number, SIG_DFL);
    }
    execv(command[0], command);
    perror("floor: execv");
    _exit(127);
}

/* Removes a tree that nobody else touches and nothing is mounted in. */
static void remove_tree(const char *path) {
    char below[600];
    struct dirent *entry;
    DIR *open_directory;
    if (rmdir(path) == 0 || (errno != ENOTEMPTY && errno != EEXIST))
        return;
    if (!(open_directory = opendir(path)))
        return;
    while ((entry = readdir(open_directory))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        snprintf(below, sizeof below, "%.300s/%.255s", path, entry->d_name);
        if (entry->d_type == DT_DIR)
            remove_tree(below);
        else
            unlink(below);
    }
    closedir(open_directory);
    rmdir(path);
}

static void find_cgroups(void) {
    const char *root = "/sys/fs/cgroup/memory";
    int v1 = access(root, F_OK) == 0;
    if (whole)
        read_through("/proc/self/mountinfo");
    if (!v1) {
        root = "/sys/fs/cgroup";
        put(root, "cgroup.subtree_control", "+memory");
    }
    join_file = v1 ? "tasks" : "cgroup.procs";
    limit_file = v1 ? "memory.limit_in_bytes" : "memory.max";
    swap_file = v1 ? "memory.memsw.limit_in_bytes" : "memory.swap.max";
    swap_limit = v1 ? "104857600" : "0";
    oom_file = v1 ? "memory.oom_control" : "memory.events";
    if (whole) {
        snprintf(parent_cgroup, sizeof parent_cgroup, "%s/floor", root);
        mkdir(parent_cgroup, 0755);
        if (!v1)
            put(parent_cgroup, "cgroup.subtree_control", "+memory");
        snprintf(cgroup, sizeof cgroup, "%s/%d", parent_cgroup, getpid());
    } else {
        snprintf(cgroup, sizeof cgroup, "%s/floor-%d", root, getpid());
    }
}

int main(int count, char **words) {
    static char stack[65536] __attribute__((aligned(16)));
    char path[600];
    int pid, status, owners[2] = {-1, -1};

    whole = count > 1 && !strcmp(words[1], "-w");
    words += whole;
    count -= whole;
    if (count > 2 && !strcmp(words[1], "-v")) {
        volume = words[2];
        words += 2;
        count -= 2;
    }
    if (count < 4)
        return 125;
    command = words + 3;

    find_cgroups();
    MUST(mkdir(cgroup, 0700));
    put(cgroup, limit_file, "104857600");
    if (whole) {
        owners[0] = lock(cgroup);
        snprintf(path, sizeof path, "%s/%s", cgroup, swap_file);
        if (access(path, F_OK) == 0)
            put(cgroup, swap_file, swap_limit);
    }

    snprintf(directory, sizeof directory, "%s/%d", words[2], getpid());
    snprintf(upper, sizeof upper, "%s/upper", directory);
    snprintf(work, sizeof work, "%s/work", directory);
    snprintf(merged, sizeof merged, "%s/merged", directory);
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", words[1], upper, work);
    MUST(mkdir(directory, 0700));
    if (whole)
        owners[1] = lock(directory);
    MUST(mkdir(upper, 0755));
    MUST(mkdir(work, 0755));
    MUST(mkdir(merged, 0755));

    MUST(pipe2(gate, O_CLOEXEC));
    pid = clone(child, stack + sizeof stack,
                CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | SIGCHLD, NULL);
    MUST(pid);
    close(gate[0]);
    MUST(write(gate[1], "!", 1));
    MUST(waitpid(pid, &status, 0));
    close(gate[1]);

    if (whole) {
        snprintf(path, sizeof path, "%s/%s", cgroup, oom_file);
        read_through(path);
    }
    MUST(rmdir(cgroup));
    if (whole)
        rmdir(parent_cgroup); /* unless others are in it */
    remove_tree(directory);
    close(owners[0]);
    close(owners[1]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

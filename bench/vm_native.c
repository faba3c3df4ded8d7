/* What a VM's start is compared with, each timed from C so that nothing of an
 * interpreter is in it. Prints one number of nanoseconds per line.
 *
 *   floor N          fork, _exit, wait; with 16 MiB of memory touched
 *   spawn N CMD...   posix_spawn of CMD with its output thrown away, wait
 *   first N CMD...   the same with its output in a pipe: two numbers each, to the
 *                    first byte and to the end
 *   hello            what is spawned: one write
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void wait_for(pid_t child) {
    int status;
    if (waitpid(child, &status, 0) != child || status != 0) exit(3);
}

static int run_floor(int rounds, long long *samples) {
    size_t bytes = 16 << 20;
    char *memory = malloc(bytes);
    if (memory == NULL) return 2;
    memset(memory, 1, bytes);
    for (int round = 0; round < rounds; round++) {
        long long began = now();
        pid_t child = fork();
        if (child == 0) _exit(0);
        if (child < 0) return 2;
        wait_for(child);
        samples[round] = now() - began;
    }
    return memory[bytes - 1] == 1 ? 0 : 2;
}

static int run_spawn(int rounds, char **command, long long *samples) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    for (int round = 0; round < rounds; round++) {
        long long began = now();
        pid_t child;
        if (posix_spawnp(&child, command[0], &actions, NULL, command, environ))
            return 2;
        wait_for(child);
        samples[round] = now() - began;
    }
    return 0;
}

static int run_first(int rounds, char **command, long long *samples) {
    for (int round = 0; round < rounds; round++) {
        int ends[2];
        char text[4096];
        posix_spawn_file_actions_t actions;
        if (pipe2(ends, O_CLOEXEC)) return 2;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
        long long began = now();
        pid_t child;
        if (posix_spawnp(&child, command[0], &actions, NULL, command, environ))
            return 2;
        close(ends[1]);
        if (read(ends[0], text, sizeof text) <= 0) return 2;
        samples[2 * round] = now() - began;
        wait_for(child);
        samples[2 * round + 1] = now() - began;
        close(ends[0]);
        posix_spawn_file_actions_destroy(&actions);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "hello") == 0)
        return write(1, "Hello, World!\n", 14) == 14 ? 0 : 1;
    if (argc < 3) return 64;
    int rounds = atoi(argv[2]);
    int each = strcmp(argv[1], "first") == 0 ? 2 : 1;
    long long *samples = calloc(rounds * each, sizeof *samples);
    int failed = strcmp(argv[1], "floor") == 0 ? run_floor(rounds, samples)
                 : each == 2 ? run_first(rounds, argv + 3, samples)
                             : run_spawn(rounds, argv + 3, samples);
    for (int i = 0; !failed && i < rounds * each; i++)
        printf("%lld\n", samples[i]);
    return failed;
}

/* A program for runs: it prints its arguments, its environment and its input, and exits with 7. As a function it tells
 * that main did not run. */
#include <stdio.h>
#include <stdlib.h>

__attribute__((import_module("host"), import_name("essa_set_result"))) extern int essa_set_result(const void *p, int n);
static char ran = 'n';

__attribute__((export_name("ran"))) void did_run(int len) { essa_set_result(&ran, 1); }

int main(int argc, char **argv) {
    ran = 'y';
    for (int i = 0; i < argc; i++) printf("arg %s\n", argv[i]);
    printf("env %s\n", getenv("GREETING") ? getenv("GREETING") : "none");
    char line[100];
    while (fgets(line, sizeof line, stdin)) printf("in %s", line);
    fprintf(stderr, "to stderr");
    printf("unfinished");
    return 7;
}

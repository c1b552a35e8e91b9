// SPDX-License-Identifier: GPL-2.0-only
/*
 * serve --workers: so many processes, each on a processor of its own with a listener of its own on the same port, between
 * which the kernel spreads connections (SO_REUSEPORT). The first process only waits: it says that all listen, hands a
 * signal on, and ends all of them when one ends by itself.
 */
#include "datapath.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* From the beginning again where it may use fewer. */
void pin(unsigned int n)
{
	cpu_set_t all, one;
	int cpu;

	if (sched_getaffinity(0, sizeof(all), &all))
		die(EXIT_RUNTIME, "sched_getaffinity: %s", strerror(errno));
	n %= (unsigned int)CPU_COUNT(&all);
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all) && !n--)
			break;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		die(EXIT_RUNTIME, "sched_setaffinity: %s", strerror(errno));
}

static void be_worker(struct server *s, unsigned int number, int ready, pid_t first)
{
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) || getppid() != first)
		die(EXIT_RUNTIME, "the first process has ended");
	s->worker = number;
	pin(number - 1);
	close(s->listener);
	open_listener(s, true);
	if (write(ready, "", 1) != 1)
		die(EXIT_RUNTIME, "the first process has ended");
	close(ready);
	serve_alone(s);
	cipher_wipe(&s->cipher);
	exit(0);
}

static void signal_all(const pid_t *pids, unsigned int n, int sig)
{
	while (n--)
		if (pids[n] > 0)
			kill(pids[n], sig);
}

/* Until all have ended: 0 when that was asked for, and each ended well. */
static int wait_for_all(pid_t *pids, unsigned int n, const sigset_t *until)
{
	unsigned int left = n, i;
	bool asked = false;
	int result = 0;

	while (left) {
		int status, sig = sigwaitinfo(until, NULL);
		pid_t pid;

		if (sig == SIGTERM || sig == SIGINT) {
			asked = true;
			signal_all(pids, n, SIGTERM);
		}
		while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
			for (i = 0; i < n; i++)
				if (pids[i] == pid)
					pids[i] = 0;
			left--;
			if (status || !asked)
				result = EXIT_RUNTIME;
			if (!asked)
				signal_all(pids, n, SIGTERM);
		}
	}
	return result;
}

int serve_by_workers(struct server *s)
{
	pid_t *pids = calloc(s->workers, sizeof(*pids));
	pid_t first = getpid();
	int ready[2];
	unsigned int i;
	sigset_t until;
	char said;

	sigemptyset(&until);
	sigaddset(&until, SIGTERM);
	sigaddset(&until, SIGINT);
	sigaddset(&until, SIGCHLD);
	if (!pids || pipe(ready) || sigprocmask(SIG_BLOCK, &until, NULL))
		die(EXIT_RUNTIME, "workers: %s", strerror(errno));
	for (i = 0; i < s->workers; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			die(EXIT_RUNTIME, "fork: %s", strerror(errno));
		if (!pids[i]) {
			close(ready[0]);
			free(pids);
			be_worker(s, i + 1, ready[1], first);
		}
	}
	close(ready[1]);
	for (i = 0; i < s->workers; i++)
		if (read(ready[0], &said, 1) != 1)
			break;				/* one did not come so far, and said why: its end is waited for */
	close(ready[0]);
	if (i == s->workers)
		say_listening(s);
	i = (unsigned int)wait_for_all(pids, s->workers, &until);
	free(pids);
	close(s->listener);
	return (int)i;
}

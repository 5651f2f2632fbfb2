/* The least that a program has to do to fan updates out: what the other servers are measured against.

       fanout RUN [joined] < updates

   Listens on a free port of 127.0.0.1 and prints it. Answers every request by the head of an endless chunked response and
   a hello, whatever it asks for. Each line of stdin is the JSON of an update: it is put into a frame and a chunk once,
   and sent to all sockets, one after the other, without waiting. Only where a socket has no room it waits for some, so
   that nothing is lost. "joined": lines that are read together are sent together, in one chunk. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 65536 };

static const char HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                           "Cache-Control: no-store, no-transform\r\nTransfer-Encoding: chunked\r\n\r\n"
                           "1f\r\nevent: hello\ndata: {\"from\":0}\n\n\r\n";
static int watchers[MOST], count;
static long long seq;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int listen_on_free_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 8192)) fail("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

static void accept_all(int listener) {
    char request[4096];
    for (int watcher; (watcher = accept(listener, NULL, NULL)) >= 0;) {
        if (count == MOST) fail("too many");
        setsockopt(watcher, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        if (recv(watcher, request, sizeof request, 0) <= 0) fail("request"); /* comes in one piece */
        if (send(watcher, HEAD, sizeof HEAD - 1, MSG_NOSIGNAL) < 0) fail("head");
        watchers[count++] = watcher;
    }
}

/* Sends all of it; 0 where the client has gone. */
static int send_all(int watcher, const char *text, size_t length) {
    while (length) {
        ssize_t sent = send(watcher, text, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            poll(&(struct pollfd){watcher, POLLOUT, 0}, 1, -1);
        } else if (sent < 0) {
            return 0;
        } else {
            text += sent;
            length -= sent;
        }
    }
    return 1;
}

static void send_to_all(const char *frames, size_t length) {
    static char chunk[1 << 20];
    size_t size = sprintf(chunk, "%zx\r\n", length);
    memcpy(chunk + size, frames, length);
    memcpy(chunk + size + length, "\r\n", 2);
    size += length + 2;
    for (int at = 0; at < count; at++) {
        if (send_all(watchers[at], chunk, size)) continue;
        close(watchers[at]);
        watchers[at--] = watchers[--count];
    }
}

int main(int argc, char **argv) {
    static char lines[65536], frames[1 << 19];
    size_t there = 0, length = 0;
    int joined = argc > 2;
    struct rlimit files;
    if (argc < 2) return fprintf(stderr, "usage: fanout RUN [joined] < updates\n"), 2;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct pollfd sources[] = {{listen_on_free_port(), POLLIN, 0}, {0, POLLIN, 0}};
    for (;;) {
        poll(sources, 2, -1);
        if (sources[0].revents) accept_all(sources[0].fd);
        if (!sources[1].revents) continue;
        ssize_t got = read(0, lines + there, sizeof lines - there);
        if (got <= 0) return 0;
        there += got;
        char *line = lines, *end;
        while ((end = memchr(line, '\n', lines + there - line))) {
            length += sprintf(frames + length, "data: %.*s\nid: %s-%lld\n\n", (int)(end - line), line, argv[1], ++seq);
            line = end + 1;
            if (joined && memchr(line, '\n', lines + there - line)) continue;
            send_to_all(frames, length);
            length = 0;
        }
        memmove(lines, line, there -= line - lines);
    }
}

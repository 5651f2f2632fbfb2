/* The load client of all delivery benchmarks: many event streams in one thread, every frame of them looked at.

       watch PORT UNTIL [HEADER ...] < paths

   Opens one connection to 127.0.0.1:PORT for each path that it reads, all at once, and asks each for its path. Prints a
   line of JSON when every stream has had its first frame, and another at its end: when every stream has had the event
   with the number UNTIL or was ended by the server; with UNTIL 0 only the latter counts. SIGTERM is the end, too. With
   UNTIL below 0 (-N) it says by an empty line, each time, that all streams have had one more event, for a server that is
   fed the next one only then; the end is at N.

   A frame's event is what its data has as "seq"; after a hello with "from" N the next has to be N + 1, and so on. Where
   "message" is 19 digits they are taken as the time (ns since 1970) when it was said. Times are taken when recv returns,
   before anything is looked at. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum place { CONNECTING, HEADERS, CHUNK_SIZE, CHUNK, CHUNK_END, UNCHUNKED, ENDED };

struct stream {
    int fd;
    enum place place;
    bool greeted, reached;
    long long seq;     /* of its newest event */
    size_t chunk_left; /* of the chunk that is being read */
    char *path, *rest; /* rest: a part of the headers, or of a frame */
    size_t rest_length, rest_room;
};

static const unsigned LISTENING = EPOLLIN | EPOLLRDHUP | EPOLLET;
static struct stream *streams;
static long long count, greeted, reached, ended, cut;
static long long chunks, frames, events, gaps, resets, goodbyes, wire_bytes, frame_bytes;
static long long connect_ns, hello_ns, first_ns, last_ns, received_ns, until, left_in_step;
static bool in_step;
static double greeted_cpu_s;
static long long *late_ns, late_count, late_room;
static int epoll;
static volatile sig_atomic_t told_to_end;
static char *headers;
static int port;

static void fail(const char *what) {
    fprintf(stderr, "watch: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *more(void *old, size_t bytes) {
    void *found = realloc(old, bytes);
    if (!found) fail("memory");
    return found;
}

static long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static double cpu_s(void) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return used.tv_sec + used.tv_nsec / 1e9;
}

static void watch_for(struct stream *stream, int operation, unsigned what) {
    struct epoll_event event = {.events = what, .data.ptr = stream};
    if (epoll_ctl(epoll, operation, stream->fd, &event)) fail("epoll_ctl");
}

/* What the frames say. */

static void add_late(long long said_ns) {
    if (late_count == late_room) late_ns = more(late_ns, (late_room = 2 * late_room + 65536) * sizeof *late_ns);
    late_ns[late_count++] = received_ns - said_ns;
}

static const char *after(const char *start, size_t length, const char *key, size_t key_length) {
    const char *found = memmem(start, length, key, key_length);
    return found ? found + key_length : NULL;
}
#define AFTER(start, length, key) after(start, length, key, sizeof key - 1)

static void look_at_message(const char *frame, size_t length) {
    const char *digits = AFTER(frame, length, "\"message\":\"");
    long long said_ns = 0;
    int at = 0;
    if (!digits || frame + length - digits < 20) return;
    for (; at < 19 && digits[at] >= '0' && digits[at] <= '9'; at++) said_ns = 10 * said_ns + digits[at] - '0';
    if (at == 19 && digits[19] == '"') add_late(said_ns);
}

static void look_at_event(struct stream *stream, long long seq) {
    gaps += seq != stream->seq + 1;
    stream->seq = seq;
    if (!events++) first_ns = received_ns;
    last_ns = received_ns;
    if (in_step && --left_in_step == 0) {
        left_in_step = count;
        if (write(1, "\n", 1) != 1) fail("stdout");
    }
    if (until && seq >= until && !stream->reached) {
        stream->reached = true;
        reached++;
    }
}

static void greet(struct stream *stream) {
    stream->greeted = true;
    hello_ns = received_ns;
    if (++greeted < count) return;
    greeted_cpu_s = cpu_s();
    printf("{\"greeted\": %lld, \"connect_ns\": %lld, \"hello_ns\": %lld}\n", greeted, connect_ns, hello_ns);
    fflush(stdout);
}

static void look_at_frame(struct stream *stream, const char *frame, size_t length) {
    const char *found;
    frames++;
    frame_bytes += length;
    if (length > 7 && !memcmp(frame, "event: ", 7)) {
        if (!memcmp(frame + 7, "hello\n", 6)) {
            if ((found = AFTER(frame, length, "\"from\":"))) stream->seq = atoll(found);
            resets += AFTER(frame, length, "\"reset\":true") != NULL;
        }
        goodbyes += !memcmp(frame + 7, "bye\n", 4) || !memcmp(frame + 7, "busy\n", 5);
    }
    if ((found = AFTER(frame, length, "\"seq\":"))) {
        look_at_event(stream, atoll(found));
        look_at_message(frame, length);
    }
    if (!stream->greeted) greet(stream);
}

/* From bytes to frames. */

static void keep(struct stream *stream, const char *start, size_t length) {
    if (stream->rest_length + length > stream->rest_room)
        stream->rest = more(stream->rest, stream->rest_room = 2 * (stream->rest_length + length));
    memmove(stream->rest + stream->rest_length, start, length);
    stream->rest_length += length;
}

static void forget_rest(struct stream *stream) {
    free(stream->rest); /* 8,000 of them are to cost nothing while they wait */
    stream->rest = NULL;
    stream->rest_length = stream->rest_room = 0;
}

/* Looks at every whole frame; gives how many bytes they have. */
static size_t look_at_frames(struct stream *stream, const char *start, size_t length) {
    const char *frame = start, *at = start, *end = start + length;
    while (at < end && (at = memchr(at, '\n', end - at)) && ++at < end) {
        if (*at != '\n') continue;
        look_at_frame(stream, frame, ++at - frame);
        frame = at;
    }
    return frame - start;
}

static void read_text(struct stream *stream, const char *start, size_t length) {
    if (!stream->rest_length) {
        size_t whole = look_at_frames(stream, start, length);
        if (whole < length) keep(stream, start + whole, length - whole);
        return;
    }
    keep(stream, start, length);
    size_t whole = look_at_frames(stream, stream->rest, stream->rest_length);
    if (whole == stream->rest_length) {
        forget_rest(stream);
    } else if (whole) {
        memmove(stream->rest, stream->rest + whole, stream->rest_length -= whole);
    }
}

static void end(struct stream *stream, bool orderly) {
    if (!orderly || stream->rest_length) cut++;
    forget_rest(stream);
    close(stream->fd);
    stream->place = ENDED;
    ended++;
    if (!stream->greeted) {
        fprintf(stderr, "watch: the server closed %s before its first frame\n", stream->path);
        exit(1);
    }
}

static int hex(char digit) { return digit <= '9' ? digit - '0' : (digit | 32) - 'a' + 10; }

static void read_body(struct stream *stream, const char *at, const char *last) {
    while (at < last && stream->place != ENDED) {
        if (stream->place == UNCHUNKED) {
            read_text(stream, at, last - at);
            return;
        } else if (stream->place == CHUNK_SIZE) {
            char byte = *at++;
            if (byte != '\n' && byte != '\r') stream->chunk_left = 16 * stream->chunk_left + hex(byte);
            if (byte == '\n') stream->place = CHUNK;
            if (byte == '\n' && !stream->chunk_left) end(stream, true);
        } else if (stream->place == CHUNK) {
            size_t there = last - at, length = there < stream->chunk_left ? there : stream->chunk_left;
            read_text(stream, at, length);
            at += length;
            if ((stream->chunk_left -= length)) continue;
            stream->place = CHUNK_END;
            chunks++;
        } else if (*at++ == '\n') {
            stream->place = CHUNK_SIZE;
        }
    }
}

static void read_headers(struct stream *stream, const char *start, size_t length) {
    keep(stream, start, length);
    char *blank = memmem(stream->rest, stream->rest_length, "\r\n\r\n", 4);
    if (!blank) return;
    *blank = 0;
    if (strncmp(stream->rest, "HTTP/1.1 200", 12)) {
        fprintf(stderr, "watch: %s was answered by\n%s\n", stream->path, stream->rest);
        exit(1);
    }
    stream->place = strcasestr(stream->rest, "transfer-encoding: chunked") ? CHUNK_SIZE : UNCHUNKED;
    char *body = stream->rest, *last = body + stream->rest_length;
    stream->rest = NULL;
    stream->rest_length = stream->rest_room = 0;
    read_body(stream, blank + 4, last);
    free(body);
}

/* Reads what is there, and to the end where that is there, too: what comes later is an event of its own (EPOLLET). */
static void receive(struct stream *stream, bool closed) {
    static char buffer[256 * 1024];
    for (ssize_t length = sizeof buffer; (length == sizeof buffer || closed) && stream->place != ENDED;) {
        length = recv(stream->fd, buffer, sizeof buffer, 0);
        received_ns = now_ns();
        if (length < 0 && errno == EAGAIN) return;
        if (length <= 0) {
            end(stream, length == 0 && stream->place == UNCHUNKED);
            return;
        }
        wire_bytes += length;
        if (stream->place == HEADERS) {
            read_headers(stream, buffer, length);
        } else {
            read_body(stream, buffer, buffer + length);
        }
    }
}

/* Asking. */

/* Sends the request, if the connection stands. */
static bool ask(struct stream *stream) {
    char request[4096];
    int length = snprintf(request, sizeof request,
                          "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: text/event-stream\r\n%s\r\n", stream->path,
                          port, headers);
    ssize_t sent = send(stream->fd, request, length, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) return false;
    if (sent != length) fail("request");
    stream->place = HEADERS;
    return true;
}

static void open_stream(struct stream *stream) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    stream->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (stream->fd < 0) fail("socket");
    setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(stream->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) fail("connect");
    watch_for(stream, EPOLL_CTL_ADD, ask(stream) ? LISTENING : EPOLLOUT);
}

static void read_paths(void) {
    char *line = NULL;
    size_t room = 0;
    for (ssize_t length; (length = getline(&line, &room, stdin)) > 0;) {
        if (line[length - 1] == '\n') line[--length] = 0;
        streams = more(streams, (count + 1) * sizeof *streams);
        streams[count++] = (struct stream){.path = strdup(line)};
    }
    free(line);
}

/* The report. */

static int by_size(const void *one, const void *other) {
    long long difference = *(const long long *)one - *(const long long *)other;
    return (difference > 0) - (difference < 0);
}

static double late_ms(int percent) {
    long long rank = (late_count * percent + 99) / 100; /* nearest rank */
    return late_count ? late_ns[rank > 0 ? rank - 1 : 0] / 1e6 : 0;
}

static void report(void) {
    double used_s = cpu_s() - greeted_cpu_s;
    long long lowest = count ? streams[0].seq : 0;
    for (long long one = 0; one < count; one++) lowest = streams[one].seq < lowest ? streams[one].seq : lowest;
    qsort(late_ns, late_count, sizeof *late_ns, by_size);
    printf("{\"streams\": %lld, \"greeted\": %lld, \"reached\": %lld, \"ended\": %lld, \"cut\": %lld, "
           "\"chunks\": %lld, \"frames\": %lld, \"events\": %lld, \"gaps\": %lld, \"resets\": %lld, \"goodbyes\": %lld, "
           "\"lowest\": %lld, \"wire_bytes\": %lld, \"frame_bytes\": %lld, \"connect_ns\": %lld, \"hello_ns\": %lld, "
           "\"first_ns\": %lld, \"last_ns\": %lld, \"stamped\": %lld, \"p50_ms\": %.4f, \"p99_ms\": %.4f, "
           "\"most_ms\": %.4f, \"cpu_s\": %.6f}\n",
           count, greeted, reached, ended, cut, chunks, frames, events, gaps, resets, goodbyes, lowest, wire_bytes,
           frame_bytes, connect_ns, hello_ns, first_ns, last_ns, late_count, late_ms(50), late_ms(99), late_ms(100),
           used_s);
}

static void take_term(int number) {
    (void)number;
    told_to_end = 1;
}

int main(int argc, char **argv) {
    if (argc < 3) return fprintf(stderr, "usage: watch PORT UNTIL [HEADER ...] < paths\n"), 2;
    port = atoi(argv[1]);
    until = llabs(atoll(argv[2]));
    in_step = argv[2][0] == '-';
    size_t room;
    FILE *lines = open_memstream(&headers, &room);
    for (int at = 3; at < argc; at++) fprintf(lines, "%s\r\n", argv[at]);
    fclose(lines);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    read_paths();
    left_in_step = count;

    sigset_t blocked, before; /* SIGTERM comes while epoll waits, or not at all */
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = take_term}, NULL);

    epoll = epoll_create1(0);
    connect_ns = now_ns();
    for (long long one = 0; one < count; one++) open_stream(&streams[one]);
    static struct epoll_event ready[1024];
    while (!told_to_end && (ended < count) && (!until || reached < count)) {
        int found = epoll_pwait(epoll, ready, 1024, -1, &before);
        for (int at = 0; at < found; at++) {
            struct stream *stream = ready[at].data.ptr;
            if (stream->place == CONNECTING) {
                if (ask(stream)) watch_for(stream, EPOLL_CTL_MOD, LISTENING);
            } else if (stream->place != ENDED) {
                receive(stream, ready[at].events & EPOLLRDHUP);
            }
        }
    }
    report();
    return 0;
}

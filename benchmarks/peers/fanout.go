// A fan-out as it is usually written in Go: a net/http handler and a channel for each client, JSON encoded for each.
//
//	fanout < updates
//
// Listens on a free port of 127.0.0.1 and prints it. Each line of stdin is the JSON of an update. A full channel makes
// the sender wait, so that nothing is lost.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
)

type update struct {
	Status   string  `json:"status"`
	Progress float64 `json:"progress"`
	Message  string  `json:"message"`
	Step     string  `json:"step"`
	EtaS     float64 `json:"eta_s"`
	Run      string  `json:"run"`
	Seq      int64   `json:"seq"`
	Time     string  `json:"time"`
}

// As many updates may wait for a client as datagrams for a socket, and a few more.
const waiting = 16

type hub struct {
	sync.Mutex
	clients map[chan update]bool
}

func (h *hub) join() chan update {
	client := make(chan update, waiting)
	h.Lock()
	defer h.Unlock()
	h.clients[client] = true
	return client
}

func (h *hub) leave(client chan update) {
	h.Lock()
	defer h.Unlock()
	delete(h.clients, client)
}

func (h *hub) send(one update) {
	h.Lock()
	defer h.Unlock()
	for client := range h.clients {
		client <- one
	}
}

func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	client := h.join()
	defer h.leave(client)
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store, no-transform")
	fmt.Fprint(w, "event: hello\ndata: {\"from\":0}\n\n")
	w.(http.Flusher).Flush()
	for {
		select {
		case one := <-client:
			data, err := json.Marshal(one)
			if err != nil {
				log.Fatal(err)
			}
			fmt.Fprintf(w, "data: %s\nid: %s-%d\n\n", data, one.Run, one.Seq)
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	clients := &hub{clients: map[chan update]bool{}}
	go func() { log.Fatal(http.Serve(listener, clients)) }()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var one update
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			log.Fatal(err)
		}
		clients.send(one)
	}
}

// Command clients shows that go-redis lives with a Sentinel: its calls of the Sentinel protocol
// (`calls`), a writer and a reader that follow the primary (`follow`), or one that counts at a plain
// address (`plain`).
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	pause        = 50 * time.Millisecond
	timeout      = time.Second
	stepsPerLine = 20
)

var (
	protocols = []int{2, 3}
	ctx       = context.Background()
	tcpPort   = regexp.MustCompile(`(?m)^tcp_port:(\d+)`)
	output    sync.Mutex
)

type facts map[string]any

// say prints one line of JSON.
func say(phase string, protocol int, more facts) {
	line := facts{"phase": phase, "protocol": protocol}
	for key, value := range more {
		line[key] = value
	}
	text, err := json.Marshal(line)
	must(err)
	output.Lock()
	defer output.Unlock()
	fmt.Println(string(text))
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func number(text string) int {
	found, err := strconv.Atoi(text)
	must(err)
	return found
}

func portsOf(entries []map[string]string) []int {
	ports := []int{}
	for _, entry := range entries {
		ports = append(ports, number(entry["port"]))
	}
	slices.Sort(ports)
	return ports
}

// namesOf takes the names out of a reply that is flat in RESP2 and a map in RESP3.
func namesOf(masters []any) []string {
	names := []string{}
	for _, each := range masters {
		switch master := each.(type) {
		case []any:
			names = append(names, master[1].(string))
		case map[any]any:
			names = append(names, master["name"].(string))
		}
	}
	return names
}

func calls(name string, sentinels []string, protocol int) {
	client := redis.NewSentinelClient(&redis.Options{Addr: sentinels[0], Protocol: protocol})
	defer client.Close()
	address, err := client.GetMasterAddrByName(ctx, name).Result()
	must(err)
	masters, err := client.Masters(ctx).Result()
	must(err)
	replicas, err := client.Replicas(ctx, name).Result()
	must(err)
	peers, err := client.Sentinels(ctx, name).Result()
	must(err)
	quorum, err := client.CkQuorum(ctx, name).Result()
	must(err)
	unknown := "no error"
	if err := client.Master(ctx, "unknown").Err(); err != nil {
		unknown = err.Error()
	}
	failover := ""
	if protocol == 3 {
		failover, err = client.Failover(ctx, name).Result()
		must(err)
	}
	say("calls", protocol, facts{
		"primary":   []any{address[0], number(address[1])},
		"masters":   namesOf(masters),
		"replicas":  portsOf(replicas),
		"sentinels": portsOf(peers),
		"quorum":    quorum,
		"unknown":   unknown,
		"failover":  failover,
	})
}

// repeat does a step with counted values; it says each instance that it reaches, once a second where
// it is, and errors.
func repeat(phase string, protocol int, step func(value int) (port int, seen int, err error)) {
	lastPort, lastError := 0, ""
	for value := 1; ; value++ {
		port, seen, err := step(value)
		switch {
		case err != nil && err.Error() != lastError:
			say("error", protocol, facts{"during": phase, "text": err.Error()})
			lastError = err.Error()
		case err == nil && (port != lastPort || value%stepsPerLine == 0):
			say(phase, protocol, facts{"port": port, "value": seen})
			lastPort, lastError = port, ""
		}
		time.Sleep(pause)
	}
}

func portOf(client *redis.Client) (int, error) {
	info, err := client.Info(ctx, "server").Result()
	if err != nil {
		return 0, err
	}
	found := tcpPort.FindStringSubmatch(info)
	if found == nil {
		return 0, fmt.Errorf("no tcp_port in %q", info)
	}
	return strconv.Atoi(found[1])
}

func follow(name string, sentinels []string, protocol int) {
	options := redis.FailoverOptions{
		MasterName:    name,
		SentinelAddrs: sentinels,
		Protocol:      protocol,
		DialTimeout:   timeout,
		ReadTimeout:   timeout,
		WriteTimeout:  timeout,
	}
	writer := redis.NewFailoverClient(&options)
	// A copy: the client keeps the options that it was given.
	replicaOptions := options
	replicaOptions.ReplicaOnly = true
	reader := redis.NewFailoverClient(&replicaOptions)
	key := fmt.Sprintf("go-redis-%d", protocol)
	go repeat("reads", protocol, func(int) (int, int, error) {
		value, err := reader.Get(ctx, key).Int()
		if err != nil {
			return 0, 0, err
		}
		port, err := portOf(reader)
		return port, value, err
	})
	repeat("writes", protocol, func(value int) (int, int, error) {
		if err := writer.Set(ctx, key, value, 0).Err(); err != nil {
			return 0, 0, err
		}
		port, err := portOf(writer)
		return port, value, err
	})
}

func plain(name, address string, protocol int) {
	// Retries would hide what the address must not show.
	client := redis.NewClient(&redis.Options{
		Addr: address, Protocol: protocol, MaxRetries: -1, ReadTimeout: -1,
	})
	key := fmt.Sprintf("%s:go-redis-%d", name, protocol)
	repeat("plain", protocol, func(value int) (int, int, error) {
		seen, err := client.Incr(ctx, key).Result()
		if err != nil {
			return 0, 0, err
		}
		if seen != int64(value) {
			return 0, 0, fmt.Errorf("increment %d made %d", value, seen)
		}
		port, err := portOf(client)
		return port, value, err
	})
}

func main() {
	mode, name := os.Args[1], os.Args[2]
	sentinels := strings.Split(os.Args[3], ",")
	for at, port := range sentinels {
		sentinels[at] = net.JoinHostPort("127.0.0.1", port)
	}
	var running sync.WaitGroup
	for _, protocol := range protocols {
		if mode == "calls" {
			calls(name, sentinels, protocol)
			continue
		}
		running.Add(1)
		go func() {
			defer running.Done()
			if mode == "plain" {
				plain(name, sentinels[0], protocol)
			} else {
				follow(name, sentinels, protocol)
			}
		}()
	}
	running.Wait()
}

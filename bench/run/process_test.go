package main

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"
)

// shell launches a script as a program under test.
func shell(t *testing.T, word, script string) (*bench, *process) {
	t.Helper()
	runtime.LockOSThread() // the kernel ends a program with the thread that started it
	t.Cleanup(runtime.UnlockOSThread)
	b := &bench{ctx: context.Background()}
	t.Cleanup(b.cleanUp)
	p, err := b.launch(word, nil, "/bin/sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	return b, p
}

func TestProcessReady(t *testing.T) {
	b, p := shell(t, "ready", "echo first; echo 'ready: listening on 127.0.0.1:4321, advertised as 127.0.0.1:1'; exec sleep 60")
	if err := p.await(b.ctx, readyLimit); err != nil {
		t.Fatal(err)
	}
	if a, err := p.address(); err != nil || a != "127.0.0.1:4321" {
		t.Errorf("address %q, %v", a, err)
	}
	if err := p.alive(); err != nil {
		t.Error(err)
	}
	b.stopAll()
	if err := p.alive(); err == nil {
		t.Error("it lives on")
	}
}

func TestProcessFaults(t *testing.T) {
	for _, tt := range []struct{ name, script, want string }{
		{"ends early", "echo cannot listen >&2; exit 3", "cannot listen"},
		{"is silent", "exec sleep 60", "was not ready within"},
		{"says it without an address", "echo ready; exec sleep 60", "tells no address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, p := shell(t, "ready", tt.script)
			err := p.await(b.ctx, 200*time.Millisecond)
			if err == nil {
				_, err = p.address()
			}
			if !strings.Contains(errText(err), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

// TestProcessInterrupted: a signal ends every wait.
func TestProcessInterrupted(t *testing.T) {
	_, p := shell(t, "ready", "exec sleep 60")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.await(ctx, time.Minute); err != context.Canceled {
		t.Errorf("await: %v", err)
	}
	if err := p.finish(ctx, time.Minute); err != context.Canceled {
		t.Errorf("finish: %v", err)
	}
}

func TestProcessStdin(t *testing.T) {
	b, p := shell(t, "open", "echo open; cat")
	if err := p.await(b.ctx, readyLimit); err != nil {
		t.Fatal(err)
	}
	if err := p.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.finish(b.ctx, readyLimit); err != nil {
		t.Error(err)
	}
}

func TestTranscript(t *testing.T) {
	o := transcript{word: "ready", keep: keepOutput, seen: make(chan struct{})}
	for _, part := range []string{"al", "most\nre", "ady 127", ".0.0.1:1"} {
		_, _ = o.Write([]byte(part))
		select {
		case <-o.seen:
			t.Fatalf("the line is not whole after %q", part)
		default:
		}
	}
	_, _ = o.Write([]byte("\n" + strings.Repeat("x", 3*keepOutput)))
	select {
	case <-o.seen:
	default:
		t.Fatal("the line did not count")
	}
	if o.line != "ready 127.0.0.1:1\n" || len(o.String()) != keepOutput {
		t.Errorf("line %q, %d bytes kept", o.line, len(o.String()))
	}
}

package relay_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"edged/handover"
)

// keptOrder is what a process is told that a test kills.
type keptOrder struct {
	Addresses []string
	Shards    int
	Grace     time.Duration
	Moving    bool
	Seed      uint64
	Old       bool // descriptor 3 is its predecessor's memory
}

const keptVariable = "EDGED_TEST_KEPT"

// loud tells errors at once: its process may not live to the end of the test.
type loud struct{ testing.TB }

func (l loud) Errorf(format string, args ...any) {
	fmt.Printf("error %s\n", fmt.Sprintf(format, args...))
	l.TB.Errorf(format, args...)
}

func (l loud) Fatal(args ...any) {
	fmt.Printf("error %s", fmt.Sprintln(args...))
	l.TB.Fatal(args...)
}

func (l loud) Log(...any) {}

// TestKeptProcess is the process that the test below kills: it says when it is ready, and by then has the memory. When it is
// asked it sends nothing more and says what its shards have.
func TestKeptProcess(t *testing.T) {
	text := os.Getenv(keptVariable)
	if text == "" {
		t.Skip("nobody has started this process in order to kill it")
	}
	var order keptOrder
	if err := json.Unmarshal([]byte(text), &order); err != nil {
		t.Fatal(err)
	}
	k := newKeeping(loud{t}, rand.New(rand.NewPCG(order.Seed, 0)), order.Shards, order.Addresses, order.Grace)
	k.moving = order.Moving
	for _, s := range k.shards {
		s.load = true
	}
	if order.Old {
		old, err := handover.OpenMemory(3)
		if err != nil {
			t.Fatal(err)
		}
		k.begun(k.build(k.revive(old)))
		_ = old.Close()
	} else {
		k.begun(k.build(nil))
	}
	for _, s := range k.shards {
		k.wg.Go(s.run)
	}
	fmt.Printf("ready %d\n", k.memory.FD())
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		k.setLoad(false)
		states := make([]keptState, len(k.shards))
		k.on(func(s *keptShard) { states[s.number] = s.state })
		b, err := json.Marshal(states)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("state %s\n", b)
	}
	k.end()
}

// victim is such a process.
type victim struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Reader
}

// startVictim starts one, which takes over what old has, unless that is nil, and waits until it is ready.
func startVictim(t *testing.T, order keptOrder, old *os.File) (v *victim, memory *os.File) {
	t.Helper()
	order.Old = old != nil
	text, err := json.Marshal(order)
	if err != nil {
		t.Fatal(err)
	}
	v = &victim{t: t, cmd: exec.Command(os.Args[0], "-test.run=^TestKeptProcess$", "-test.v", "-test.timeout=1m")}
	v.cmd.Env = append(os.Environ(), keptVariable+"="+string(text))
	if old != nil {
		v.cmd.ExtraFiles = []*os.File{old}
	}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if v.in, err = v.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	v.lines = bufio.NewReader(out)
	t.Cleanup(v.kill)
	late := time.AfterFunc(patience, func() { _ = v.cmd.Process.Kill() })
	defer late.Stop()
	fd := v.read("ready ")
	if memory, err = os.OpenFile(fmt.Sprintf("/proc/%d/fd/%s", v.cmd.Process.Pid, fd), os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = memory.Close() })
	return v, memory
}

// read returns the rest of the next line that begins so.
func (v *victim) read(begin string) string {
	v.t.Helper()
	for {
		line, err := v.lines.ReadString('\n')
		if rest, ok := strings.CutPrefix(line, begin); ok && err == nil {
			return strings.TrimSpace(rest)
		}
		v.heed(line)
		if err != nil {
			v.t.Fatalf("the process has ended: %v", err)
		}
	}
}

func (v *victim) heed(line string) {
	if what, ok := strings.CutPrefix(line, "error "); ok || strings.HasPrefix(line, "panic") {
		v.t.Errorf("process %d: %s", v.cmd.Process.Pid, strings.TrimSpace(what))
	}
}

// kill ends it at whatever instruction it is.
func (v *victim) kill() {
	if v.cmd.ProcessState != nil {
		return
	}
	_ = v.cmd.Process.Kill()
	for {
		line, err := v.lines.ReadString('\n')
		v.heed(line)
		if err != nil {
			break
		}
	}
	_ = v.cmd.Wait() // it was killed
}

// states asks what its shards have.
func (v *victim) states() (states []keptState) {
	v.t.Helper()
	if _, err := io.WriteString(v.in, "\n"); err != nil {
		v.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(v.read("state ")), &states); err != nil {
		v.t.Fatal(err)
	}
	return states
}

// A process that is killed at any instruction, again and again, loses and doubles nothing towards Managers that give receipts.
func TestKilledProcesses(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for _, moving := range []bool{false, true} {
		t.Run(fmt.Sprint("managers go: ", moving), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			const shards, managers = 2, 2
			w := newKeptWorld(t, random, shards, managers, time.Minute)
			order := keptOrder{Addresses: w.k.addresses, Shards: shards, Grace: time.Minute, Moving: moving}
			if moving {
				order.Grace = 10 * time.Millisecond
			}
			w.k.moving = moving
			var memory *os.File
			var v *victim
			for range 20 {
				order.Seed = random.Uint64()
				v, memory = startVictim(t, order, memory)
				for end := time.Now().Add(time.Duration(random.IntN(40)) * time.Millisecond); time.Now().Before(end); {
					w.pushes[random.IntN(managers)][random.IntN(shards)].push(random)
					time.Sleep(time.Duration(random.IntN(500)) * time.Microsecond)
				}
				if moving && random.IntN(3) == 0 {
					w.renew(random.IntN(managers))
				}
				v.kill()
			}
			v, _ = startVictim(t, order, memory)
			w.settleVictim(v)
		})
	}
}

// settleVictim is settle where the shards are another process's.
func (w *keptWorld) settleVictim(v *victim) {
	w.t.Helper()
	end := time.Now().Add(patience)
	for _, streams := range w.pushes {
		for _, p := range streams {
			for shard, want := range p.counts {
				for got := -1; got != want; time.Sleep(time.Millisecond) {
					got = v.states()[shard].Next[p.name()]
					if time.Now().After(end) {
						w.t.Fatalf("shard %d got %d items of %s, want %d", shard, got, p.name(), want)
					}
				}
			}
		}
	}
	for shard, s := range v.states() {
		if w.k.moving {
			w.untilAll(uint32(shard), s.Sent[0])
			continue
		}
		for i, m := range w.managers {
			same(w.t, trimmed(m.untilPayloads(uint32(shard), s.Sent[i])), series(0, s.Sent[i]))
		}
	}
}

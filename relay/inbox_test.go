package relay

import (
	"testing"
	"time"
)

func TestInboxJudges(t *testing.T) {
	at := func(last uint64, loose bool) inbox { return inbox{last: last, loose: loose} }
	tests := []struct {
		name string
		in   inbox
		seq  uint64
		want verdict
	}{
		{"the first", at(0, false), 1, take},
		{"not numbered", at(7, false), 0, take},
		{"the next", at(7, false), 8, take},
		{"the same again", at(7, false), 7, repeated},
		{"an old one", at(7, false), 1, repeated},
		{"one is missing", at(7, false), 9, hole},
		{"the first is missing", at(0, false), 2, hole},
		{"any one begins a loose numbering", at(0, true), 5, take},
		{"the highest number", at(1<<64-2, false), 1<<64 - 1, take},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.in.judge(tt.seq); got != tt.want {
				t.Errorf("judge(%d) is %v, want %v", tt.seq, got, tt.want)
			}
		})
	}
}

func TestInboxLooseOnlyOnce(t *testing.T) {
	var in inbox
	in.took(3, time.Time{})
	in.loosen()
	in.took(9, time.Time{})
	if in.last != 9 || in.judge(11) != hole || in.judge(9) != repeated || in.judge(10) != take {
		t.Fatalf("after a loose 9: %+v", in)
	}
	in.loosen()
	in.tighten()
	if in.judge(2) != hole || in.judge(1) != take {
		t.Fatalf("after tighten: %+v", in)
	}
}

func TestReceiptsOwed(t *testing.T) {
	var in inbox
	start := time.Unix(100, 0)
	if _, ok := in.due(); ok {
		t.Fatal("a receipt is due before anything came")
	}
	if in.took(0, start) {
		t.Fatal("an unnumbered batch asks for a receipt")
	}
	for seq := uint64(1); seq <= receiptBatches; seq++ {
		tell := in.took(seq, start.Add(time.Duration(seq)*time.Millisecond))
		if want := seq == 1 || seq == receiptBatches; tell != want {
			t.Fatalf("batch %d: tell is %v", seq, tell)
		}
		at, ok := in.due()
		want := start.Add(time.Millisecond)
		if seq < receiptBatches {
			want = want.Add(receiptDelay)
		}
		if !ok || !at.Equal(want) {
			t.Fatalf("batch %d: due at %v (%v), want %v", seq, at, ok, want)
		}
	}
	in.receipted()
	if _, ok := in.due(); ok {
		t.Fatal("due after it went out")
	}
	if !in.took(5, start) || in.last != receiptBatches {
		t.Fatalf("a repeated batch: %+v", in)
	}
	in.restart()
	if in != (inbox{base: receiptBatches}) {
		t.Fatalf("after restart: %+v", in)
	}
}

package batch_test

import (
	"testing"

	"edged/batch"
)

// Count agrees with a walk by Next, also where other fields stand between the items and at bytes that are no field.
func TestItemsCount(t *testing.T) {
	one := batch.AppendOpened(nil, batch.Link{Index: 1, Uniq: 2}, nil)
	large := batch.AppendMessage(nil, batch.Link{Index: 300, Uniq: 1 << 31}, nil, batch.KindData, make([]byte, 300))
	for name, b := range map[string][]byte{
		"none":           nil,
		"one":            one,
		"two sizes":      append(append([]byte{}, one...), large...),
		"numbers behind": batch.AppendUpstreamSeq(append([]byte{}, large...), 7, 300),
		"numbers first":  append(batch.AppendUpstreamSeq(nil, 7, 300), one...),
		"cut":            large[:len(large)-1],
		"empty item":     {2<<3 | 2, 0},
		"lone tag":       {2<<3 | 2},
	} {
		want, it := 0, batch.UpItems(b)
		for {
			if _, _, ok := it.Next(); !ok {
				break
			}
			want++
		}
		if got := batch.UpItems(b).Count(); got != want {
			t.Errorf("%s: %d items, want %d", name, got, want)
		}
	}
}

// The usual form of an item with data is read on a way of its own, which must agree with the general one: the same item with its
// fields in another order, or with more of them.
func TestUsualDataReadsLikeAny(t *testing.T) {
	field := func(raw []byte) []byte {
		it := batch.DownItems(raw)
		item, _, _ := it.Next()
		return item
	}
	for _, l := range []batch.Link{{}, {Index: 1}, {Uniq: 1}, {Index: 1 << 31, Uniq: 1<<32 - 1}} {
		for _, size := range []int{0, 1, 127, 128, 20000} {
			for _, ref := range []uint64{0, 1, 1 << 63} {
				item := field(batch.AppendData(nil, l, ref, make([]byte, size)))
				unknown := append(append([]byte{}, item...), 15<<3, 1) // field 15: 1
				var usual, general batch.DownItem
				if err := batch.ParseDownItem(item, &usual); err != nil {
					t.Fatal(err)
				}
				if err := batch.ParseDownItem(unknown, &general); err != nil {
					t.Fatal(err)
				}
				if usual.Target != general.Target || usual.Link != general.Link || usual.Op != general.Op || usual.Ref != general.Ref ||
					len(usual.Data) != size || len(general.Data) != size || cap(usual.Data) != size {
					t.Errorf("%v, %d bytes, ref %d: %+v and %+v", l, size, ref, usual, general)
				}
				compareDownHead(t, item)
				compareDownHead(t, unknown)
			}
		}
	}
}

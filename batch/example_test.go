package batch_test

import (
	"fmt"

	"edged/batch"
)

// A gateway fills a batch item by item and adds the numbers last; a Manager walks over the items where they lie.
func Example() {
	l := batch.Link{Index: 231, Uniq: 23}
	b := batch.AppendOpened(nil, l, nil)
	b = batch.AppendMessage(b, l, nil, batch.KindData, []byte("hello"))
	b = batch.AppendUpstreamSeq(b, 7, 0)

	up, err := batch.ParseUpstream(b)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("seq", up.Seq)
	var it batch.UpItem
	for {
		item, _, ok := up.Items.Next()
		if !ok {
			break
		}
		if err := batch.ParseUpItem(item, &it); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("link %d:%d what %d payload %q\n", it.Link.Index, it.Link.Uniq, it.What, it.Payload)
	}
	// Output:
	// seq 7
	// link 231:23 what 3 payload ""
	// link 231:23 what 4 payload "hello"
}

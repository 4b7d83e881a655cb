package nic_test

import (
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"edged/nic"
)

// attribute returns one in the kernel's form. Numbers are 32 bits wide, uint8 and uint64 as they are.
func attribute(kind uint16, value any) []byte {
	var b []byte
	switch v := value.(type) {
	case int:
		b = binary.NativeEndian.AppendUint32(nil, uint32(v))
	case uint8:
		b = []byte{v}
	case uint64:
		b = binary.NativeEndian.AppendUint64(nil, v)
	case string:
		b = append([]byte(v), 0)
	case []byte:
		b = v
	}
	encoded, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: kind, Data: b}})
	if err != nil {
		panic(err)
	}
	return encoded
}

// attributes returns them one behind the other: kind, value, kind, value.
func attributes(pairs ...any) []byte {
	var b []byte
	for i := 0; i < len(pairs); i += 2 {
		b = append(b, attribute(uint16(pairs[i].(int)), pairs[i+1])...)
	}
	return b
}

// said returns one message for each list of attributes.
func said(lists ...[]byte) []genetlink.Message {
	var m []genetlink.Message
	for _, b := range lists {
		m = append(m, genetlink.Message{Data: b})
	}
	return m
}

const nested = unix.NLA_F_NESTED

// bitset returns a set of features in its long form.
func bitset(names ...string) []byte {
	var bits []byte
	for i, name := range names {
		bits = append(bits, attributes(unix.ETHTOOL_A_BITSET_BITS_BIT|nested,
			attributes(unix.ETHTOOL_A_BITSET_BIT_INDEX, i, unix.ETHTOOL_A_BITSET_BIT_NAME, name))...)
	}
	return attributes(unix.ETHTOOL_A_BITSET_NOMASK, []byte{}, unix.ETHTOOL_A_BITSET_SIZE, 64, unix.ETHTOOL_A_BITSET_BITS|nested, bits)
}

func TestParseNetdev(t *testing.T) {
	queues, err := nic.ParseQueues(said(
		attributes(1, 0, 3, 0, 4, 8193, 2, 5), attributes(3, 1, 1, 7, 2, 5, 99, "later"), nil))
	if want := []nic.AnsweredQueue{{Index: 0, NAPI: 8193}, {TX: true, Index: 7}, {}}; err != nil || !reflect.DeepEqual(queues, want) {
		t.Errorf("queues %+v, %v", queues, err)
	}
	napis, err := nic.ParseNAPIs(said(
		attributes(2, 8193, 1, 5, 3, 141, 5, 0, 6, uint64(1)<<40), attributes(2, 385, 1, 5)))
	if want := []nic.AnsweredNAPI{{ID: 8193, IRQ: 141}, {ID: 385}}; err != nil || !reflect.DeepEqual(napis, want) {
		t.Errorf("NAPIs %+v, %v", napis, err)
	}
	stats, err := nic.ParseQStats(said( // numbers of 4 and of 8 bytes, and one of a size that cannot be
		attributes(1, 5, 2, 0, 3, 2, 8, 100, 9, uint64(1)<<40, 12, 3, 13, 4),
		attributes(1, 5, 2, 1, 3, 0, 10, uint64(7), 11, []byte{1, 2, 3, 4, 5, 6, 7})))
	want := []nic.QueueStats{{Index: 2, Packets: 100, Bytes: 1 << 40, AllocFail: 3, Drops: 4}, {TX: true, Packets: 7}}
	if err != nil || !reflect.DeepEqual(stats, want) {
		t.Errorf("counters %+v, %v", stats, err)
	}
}

func TestParseEthtool(t *testing.T) {
	channels, err := nic.ParseChannels(said(attributes(1, []byte{}, 2, 1, 3, 2, 4, 3, 5, 63, 6, 0, 7, 5, 8, 1, 9, 32)))
	if want := (nic.Channels{Now: nic.Counts{TX: 5, Other: 1, Combined: 32}, Max: nic.Counts{RX: 1, TX: 2, Other: 3, Combined: 63}}); err != nil || channels != want {
		t.Errorf("channels %+v, %v", channels, err)
	}
	rings, err := nic.ParseRings(said(attributes(2, 4096, 3, 1, 5, 2048, 6, 512, 9, 256, 10, 1)))
	if want := (nic.Rings{RX: 512, TX: 256, RXMax: 4096, TXMax: 2048}); err != nil || rings != want {
		t.Errorf("rings %+v, %v", rings, err)
	}
	speed, err := nic.ParseSpeed(said(attributes(1, []byte{}, 2, uint8(1), 5, 100000, 6, uint8(1))))
	if err != nil || speed != 100000 {
		t.Errorf("speed %d, %v", speed, err)
	}
	features, err := nic.ParseFeatures(said(attributes(
		unix.ETHTOOL_A_FEATURES_HW|nested, bitset("rx-gro", "rx-lro", "tx-tcp-segmentation", "rx-checksum"),
		unix.ETHTOOL_A_FEATURES_WANTED|nested, bitset("rx-gro", "rx-lro"),
		unix.ETHTOOL_A_FEATURES_ACTIVE|nested, bitset("rx-gro", "tx-generic-segmentation", "tx-tcp-segmentation"),
		unix.ETHTOOL_A_FEATURES_NOCHANGE|nested, bitset("tx-tcp-segmentation", "tx-lockless"))))
	want := []nic.Feature{{Name: nic.GRO, On: true}, {Name: nic.GSO, On: true, Fixed: true}, {Name: nic.LRO}, {Name: nic.TSO, On: true, Fixed: true}}
	if err != nil || !reflect.DeepEqual(features, want) {
		t.Errorf("features %+v, %v", features, err)
	}
}

// TestCoalesceRoundTrip has what is asked for read like what is told.
func TestCoalesceRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		c := nic.Coalesce{Has: nic.CoalesceField(random.IntN(64))}
		for field, to := range map[nic.CoalesceField]*int{nic.RXUsecs: &c.RXUsecs, nic.RXFrames: &c.RXFrames, nic.TXUsecs: &c.TXUsecs, nic.TXFrames: &c.TXFrames} {
			if c.Has&field != 0 {
				*to = random.IntN(1 << 20)
			}
		}
		c.AdaptiveRX = c.Has&nic.AdaptiveRX != 0 && random.IntN(2) == 0
		c.AdaptiveTX = c.Has&nic.AdaptiveTX != 0 && random.IntN(2) == 0
		if got, err := nic.ParseCoalesce(said(nic.CoalesceRequest(c))); err != nil || got != c {
			t.Fatalf("%+v reads as %+v, %v", c, got, err)
		}
	}
}

// FuzzGeneric has no answer, however broken, do more harm than an error.
func FuzzGeneric(f *testing.F) {
	f.Add(attributes(1, 0, 3, 0, 4, 8193, 2, 5))
	f.Add(attributes(2, 1, 3, 2, 9, uint64(7)))
	f.Add(attributes(unix.ETHTOOL_A_FEATURES_HW|nested, bitset("rx-gro")))
	f.Add([]byte{255, 255, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		m := said(b, b)
		_, _ = nic.ParseQueues(m)
		_, _ = nic.ParseNAPIs(m)
		_, _ = nic.ParseQStats(m)
		_, _ = nic.ParseChannels(m)
		_, _ = nic.ParseRings(m)
		_, _ = nic.ParseCoalesce(m)
		_, _ = nic.ParseFeatures(m)
		_, _ = nic.ParseSpeed(m)
	})
}

func TestDriverStats(t *testing.T) {
	for _, c := range []struct {
		driver string
		names  []string
		want   []nic.QueueStats // values are 1, 2, 3 ...
	}{
		{"virtio_net", []string{"rx_queue_0_packets", "rx_queue_0_bytes", "rx_queue_0_drops", "tx_queue_0_packets", "tx_queue_0_bytes"},
			[]nic.QueueStats{{Packets: 1, Bytes: 2}, {TX: true, Packets: 4, Bytes: 5}}},
		{"virtio_net 6.11", []string{"rx0_drops", "rx0_xdp_packets", "rx0_kicks"}, nil}, // the rest is told by netdev
		{"ixgbe", []string{"rx_packets", "tx_queue_15_packets", "tx_queue_15_bytes"}, []nic.QueueStats{{TX: true, Index: 15, Packets: 2, Bytes: 3}}},
		{"i40e", []string{"rx-3.packets", "rx-3.bytes", "tx-3.packets", "port.rx_bytes"},
			[]nic.QueueStats{{Index: 3, Packets: 1, Bytes: 2}, {TX: true, Index: 3, Packets: 3}}},
		{"mlx5_core", []string{"rx12_packets", "rx12_bytes", "rx12_csum_none", "tx12_packets", "tx12_tso_packets", "rx_12_packets_phy"},
			[]nic.QueueStats{{Index: 12, Packets: 1, Bytes: 2}, {TX: true, Index: 12, Packets: 4}}},
		{"mana", []string{"rx_0_packets", "rx_0_bytes"}, []nic.QueueStats{{Packets: 1, Bytes: 2}}},
		{"ena", []string{"queue_1_tx_cnt", "queue_1_tx_bytes", "queue_1_rx_cnt", "queue_1_rx_bytes", "queue_1_rx_refil_partial"},
			[]nic.QueueStats{{TX: true, Index: 1, Packets: 1, Bytes: 2}, {Index: 1, Packets: 3, Bytes: 4}}},
		{"bnxt_en", []string{"[2]: rx_ucast_packets", "[2]: rx_mcast_packets", "[2]: rx_bcast_packets", "[2]: rx_discard_packets", "[2]: rx_ucast_bytes"},
			[]nic.QueueStats{{Index: 2, Packets: 6, Bytes: 5}}},
		{"veth", []string{"peer_ifindex", "rx_queue_0_xdp_packets", "rx_queue_0_drops"}, nil},
		{"no number", []string{"rx_queue_99999999999999999999_packets"}, nil},
	} {
		values := make([]uint64, len(c.names))
		for i := range values {
			values[i] = uint64(i + 1)
		}
		if got := nic.ParseDriverStats(c.names, values); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.driver, got, c.want)
		}
	}
	if got := nic.ParseDriverStats([]string{"rx0_packets", "rx1_packets"}, []uint64{5}); len(got) != 1 || got[0].Packets != 5 {
		t.Errorf("names without values: %+v", got)
	}
}

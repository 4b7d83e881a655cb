package linkpool

import "fmt"

// ShardBits is the width of the shard's number in a link's index: the top bits
// name the shard, the others the place in its pool.
const ShardBits = 8

const placeBits = 32 - ShardBits

// MaxShards is the number of shards that an index can tell apart.
const MaxShards = 1 << ShardBits

// MaxPlaces is the number of places that an index can tell apart in one shard.
const MaxPlaces = 1 << placeBits

// Index packs a shard and a place of its pool into the index of a link's name.
func Index(shard int, place uint32) uint32 {
	if uint(shard) >= MaxShards || place >= MaxPlaces {
		panic(fmt.Sprintf("linkpool: shard %d, place %d: beyond %d shards of %d places", shard, place, MaxShards, MaxPlaces))
	}
	return uint32(shard)<<placeBits | place
}

// Place takes apart what Index packed. Every index names a shard and a place,
// though neither need exist.
func Place(index uint32) (shard int, place uint32) {
	return int(index >> placeBits), index % MaxPlaces
}

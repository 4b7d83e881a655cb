// Package keyindex lets a message name its keys by numbers on the wire and by names in the program (docs/PROTOCOL.md, 1.4).
//
//	{"fromUserId": 123, "toUserId": 456, "content": "hello"}   in the program and in JSON, 51 bytes
//	{0: 123, 1: 456, 2: "hello"}                               as edgedpb.Message, 31 bytes
//
// Client and Manager share a Schema, which says what number each name has. It comes from a text:
//
//	# a message of the chat
//	fromUserId  0
//	toUserId    1
//	content     2
//	attachments 3 {     # a map of its own, or a list of such maps
//		url   0
//		bytes 1
//	}
//	-           4       # was: priority. Its number is not given to another name
//
// One item stands on a line; # begins a comment. A name is any text without white space, braces, quotes and #. Numbers are
// those of protobuf's uint32; they need not follow each other. Names and numbers are unique within their braces.
// The gateway knows nothing of any of this: it passes on the bytes.
//
// # Values
//
//	in the program                                     on the wire   out of Unmarshal
//	int and uint of all sizes, json.Number without .   int           int64
//	float32, float64, json.Number                      double        float64
//	bool, string                                       bool, string  bool, string
//	[]byte                                             bytes         []byte
//	map with keys that are strings                     map           map[string]any
//	slices and arrays of these                         list          []any
//	nil                                                (no kind)     nil
//
// A number that was read from JSON as a float64 goes out as a double of 8 bytes; a json.Decoder with UseNumber keeps 123 an
// integer.
//
// # How small
//
// A key costs 7 bytes with the head of its value, whatever its name; JSON's costs its name and 4. So messages with names as
// programs have them get smaller: those of size_test.go by 7 % (a long text) to 40 %. Lists of small numbers do not: each
// takes 4 bytes and more.
//
// # Schemas that change
//
// New names get new numbers. An old reader then finds what it does not know under "#7", the number behind a #, and gives it
// back under the same key if it sends the map on; a new reader of an old message finds the key absent. What has to hold is
// that no number ever changes its name: Schema.Extends proves it.
//
// The package keeps no state beyond a Schema, which any number of goroutines may use.
package keyindex

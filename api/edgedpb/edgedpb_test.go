package edgedpb_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
)

// The names below are spoken by other languages: they are part of the protocol, not of this package.
func TestNamesOfTheProtocol(t *testing.T) {
	if got, want := edgedpb.Manager_Relay_FullMethodName, "/edged.v1.Manager/Relay"; got != want {
		t.Errorf("method %q, want %q", got, want)
	}
	if got, want := edgedpb.File_api_manager_proto.Package(), "edged.v1"; string(got) != want {
		t.Errorf("package %q, want %q", got, want)
	}
	stream := edgedpb.Manager_ServiceDesc.Streams[0]
	if !stream.ClientStreams || !stream.ServerStreams {
		t.Errorf("Relay is not a stream both ways: %+v", stream)
	}
}

// A HELLO's bytes as another implementation would write them: field numbers and types, not merely a round trip.
func TestHelloBytes(t *testing.T) {
	b := []byte("\x0a\x0242\x12\x05phone\x1a\x03tok\x20\x07\x2a\x05sdk/1\x32\x02id")
	var h edgedpb.Hello
	if err := proto.Unmarshal(b, &h); err != nil {
		t.Fatal(err)
	}
	want := &edgedpb.Hello{User: "42", Device: "phone", Token: "tok", SyncedVersion: 7, Sdk: "sdk/1", Resume: "id"}
	if !proto.Equal(&h, want) {
		t.Errorf("got %v, want %v", &h, want)
	}
}

// Package handover lets links outlive the process that serves them: it moves sections of bytes and file descriptors from one
// process to the next. What a section means it never knows; epoll, frames, users and Managers are others' affairs.
//
// # Upgrade
//
// A running process is replaced by a fresh one of the binary on the disk, with all its links:
//
//	old: preflight child > Pause > fork+exec -----> new: reads its configuration, makes its tables
//	     Freeze > state into a sealed memfd  <----- hello: formats it reads
//	                                         -----> maps and checks it, loads, claims descriptors
//	     go                                  <----- ready
//	     MAINPID > leaves                    <----- running
//
// The new process inherits every descriptor that is not closed on exec, under its number; an inherited epoll goes on as it
// is, and no link is touched by the move. Every step has a limit, and whatever fails before the new process has said that
// it is running ends that process and thaws this one: Upgrade returns one sentence, and nothing happened. In exec mode the same
// is done with a trial, before the program is replaced in place.
//
// Any other child would inherit the links as well. It is started by Start, as this binary again, which lets go of them in Shim
// and becomes the wanted program; os/exec must not be used.
//
// # State
//
// A state is a file of sections, each with name, version and checksum (section.go). Who owns a part of the state declares a
// Part and appends its bytes; all Parts are written at once into memory that was made ready before. Old and new process agree on
// the newest version of each part that both know, so that an upgrade can be taken back by one release.
//
// # Keeper
//
// A Keeper is a process of its own that holds duplicates of the link's descriptors and the memory in which the gateway records
// their state, and gives both to the next gateway after a crash. It reads neither. Its protocol is frozen (keeper_protocol.go).
// Keeping is the gateway's side, a Deposit each reactor's; CheckFlow finds the links with which the kernel had got further than
// the record, which are closed as torn.
//
// # Memory
//
// Memory is the shared memory: for each shard records (Records) and rings (Ring). What a shard's thread writes there between two
// calls of Records.Commit is a turn. A turn becomes valid as a whole by the one store of Commit: whatever instruction the process
// dies at, the next one finds what the last committed turn left, of every record with its cold bytes and of every ring's entries.
//
//	record     two halves, each with the turn that wrote it; what the committed turn has is never written over
//	blocks     of cold bytes that a turn replaced are free only after its Commit
//	ring       entries carry their turn; a reader stops at the first one of a turn that was not committed
//	at once    what another thread does to a ring: marks, releases, and its note
//
// A memory is written by the process that made it, and by no other. Its successor reads it, makes one of its own, writes all that
// it has into the first turn of each shard, and then gives the new one to the keeper in place of the old one, which was retired
// (Memory.Retire) before: until all is written, neither is to be gone on with.
package handover

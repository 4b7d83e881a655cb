package batch

import "google.golang.org/protobuf/encoding/protowire"

// Wire types of protobuf that the protocol uses.
const (
	varintType = uint32(protowire.VarintType)
	bytesType  = uint32(protowire.BytesType)
)

// The fields of api/manager.proto, as message and field: the number shifted by three, with the wire type in the low bits,
// which is how a field announces itself on the wire. All are below 128 and so take one byte.
const (
	upstreamHello    = 1<<3 | bytesType
	upstreamItems    = 2<<3 | bytesType
	upstreamSeq      = 3<<3 | varintType
	upstreamReceived = 4<<3 | varintType

	gatewayHelloID       = 1<<3 | bytesType
	gatewayHelloAddress  = 2<<3 | bytesType
	gatewayHelloProtocol = 3<<3 | varintType
	gatewayHelloVersion  = 4<<3 | bytesType
	gatewayHelloReactor  = 5<<3 | varintType
	gatewayHelloResumed  = 6<<3 | varintType
	gatewayHelloEpoch    = 7<<3 | varintType

	linkRefIndex = 1<<3 | varintType
	linkRefUniq  = 2<<3 | varintType

	upItemLink        = 1<<3 | bytesType
	upItemSession     = 2<<3 | bytesType
	upItemOpened      = 3<<3 | bytesType
	upItemMessage     = 4<<3 | bytesType
	upItemAcked       = 5<<3 | bytesType
	upItemUndelivered = 6<<3 | bytesType
	upItemClosed      = 7<<3 | bytesType
	upItemRefused     = 8<<3 | bytesType

	sessionValues = 1<<3 | bytesType

	// Of an entry of any map.
	entryKey   = 1<<3 | bytesType
	entryValue = 2<<3 | bytesType

	clientMessageKind    = 1<<3 | varintType
	clientMessagePayload = 2<<3 | bytesType

	ackedReceipts = 1<<3 | bytesType

	receiptTID     = 1<<3 | varintType
	receiptMsgID   = 2<<3 | bytesType
	receiptSampled = 3<<3 | varintType
	receiptTries   = 4<<3 | varintType

	undeliveredLosses = 1<<3 | bytesType

	lossMsgID  = 1<<3 | bytesType
	lossReason = 2<<3 | varintType

	closedReason   = 1<<3 | varintType
	closedSide     = 2<<3 | varintType
	closedEvidence = 3<<3 | bytesType

	refusedRef    = 1<<3 | varintType
	refusedReason = 2<<3 | bytesType
	refusedCode   = 3<<3 | varintType

	downstreamItems    = 1<<3 | bytesType
	downstreamSeq      = 2<<3 | varintType
	downstreamReceived = 3<<3 | varintType
	downstreamHello    = 4<<3 | bytesType

	managerHelloID       = 1<<3 | bytesType
	managerHelloProtocol = 2<<3 | varintType
	managerHelloReceipts = 3<<3 | varintType

	downItemLink     = 1<<3 | bytesType
	downItemUser     = 2<<3 | bytesType
	downItemDevice   = 3<<3 | bytesType
	downItemRoom     = 4<<3 | bytesType
	downItemEveryone = 5<<3 | bytesType
	downItemData     = 6<<3 | bytesType
	downItemPush     = 7<<3 | bytesType
	downItemSession  = 8<<3 | bytesType
	downItemBind     = 9<<3 | bytesType
	downItemJoin     = 10<<3 | bytesType
	downItemLeave    = 11<<3 | bytesType
	downItemClose    = 12<<3 | bytesType
	downItemRef      = 13<<3 | varintType

	deviceUser   = 1<<3 | bytesType
	deviceDevice = 2<<3 | bytesType

	pushPayload   = 1<<3 | bytesType
	pushMsgID     = 2<<3 | bytesType
	pushAck       = 3<<3 | varintType
	pushAllowGzip = 4<<3 | varintType
	pushTTL       = 5<<3 | varintType
	pushPackageID = 6<<3 | varintType
	pushSeqID     = 7<<3 | varintType
	pushCount     = 8<<3 | varintType
	pushVersion   = 9<<3 | varintType

	patchSet    = 1<<3 | bytesType
	patchDelete = 2<<3 | bytesType

	bindUser   = 1<<3 | bytesType
	bindDevice = 2<<3 | bytesType
	bindSynced = 3<<3 | varintType

	closeReason     = 1<<3 | varintType
	closeRetryAfter = 2<<3 | varintType
	closeText       = 3<<3 | bytesType
)

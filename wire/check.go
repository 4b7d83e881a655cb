package wire

// CheckClient says whether a client may send such a body: nil, ErrKind,
// ErrDirection, ErrShort or ErrSize. It judges kind and size, by which the Parse
// functions of a client's kinds cannot fail, and leaves to the caller what
// depends on the link's state (DATA before WELCOME). An empty body, the
// heartbeat, is fine.
func CheckClient(body []byte) error {
	if len(body) == 0 {
		return nil
	}
	rest := len(body) - 1
	switch Kind(body[0]) {
	case KindHello, KindData, KindBye:
		return nil // a client's BYE may be as short as it likes (section 4)
	case KindAck:
		return checkAck(rest)
	case KindPing, KindPong:
		return checkPing(rest)
	case KindWelcome, KindPush:
		return ErrDirection
	}
	return ErrKind
}

// CheckGateway says whether a gateway may send such a body, as CheckClient does
// for a client. The protobuf of a WELCOME is left to ParseWelcome.
func CheckGateway(body []byte) error {
	if len(body) == 0 {
		return nil
	}
	rest := body[1:]
	switch Kind(body[0]) {
	case KindWelcome, KindData:
		return nil
	case KindPush:
		_, err := pushHead(rest)
		return err
	case KindBye:
		if len(rest) < byeHead {
			return ErrShort
		}
		return nil
	case KindPing, KindPong:
		return checkPing(len(rest))
	case KindHello, KindAck:
		return ErrDirection
	}
	return ErrKind
}

func checkAck(rest int) error {
	switch {
	case rest < 4:
		return ErrShort
	case rest%4 != 0:
		return ErrSize
	}
	return nil
}

func checkPing(rest int) error {
	switch {
	case rest < 4:
		return ErrShort
	case rest > 4:
		return ErrSize
	}
	return nil
}

package login

import (
	"bytes"
	"encoding/binary"
)

// Methods that a prober and a broker exchange: class in the upper half, method in the lower. The numbers are those
// of the AMQP 0-9-1 specification and of RabbitMQ's extensions (connection.blocked, confirm).
const (
	methodStart          = 10<<16 | 10
	methodStartOK        = 10<<16 | 11
	methodTune           = 10<<16 | 30
	methodTuneOK         = 10<<16 | 31
	methodOpen           = 10<<16 | 40
	methodOpenOK         = 10<<16 | 41
	methodClose          = 10<<16 | 50
	methodCloseOK        = 10<<16 | 51
	methodBlocked        = 10<<16 | 60
	methodChannelOpen    = 20<<16 | 10
	methodChannelOpenOK  = 20<<16 | 11
	methodChannelClose   = 20<<16 | 40
	methodChannelCloseOK = 20<<16 | 41
	methodDeclare        = 50<<16 | 10
	methodDeclareOK      = 50<<16 | 11
	methodDelete         = 50<<16 | 40
	methodDeleteOK       = 50<<16 | 41
	methodConsume        = 60<<16 | 20
	methodConsumeOK      = 60<<16 | 21
	methodCancel         = 60<<16 | 30
	methodCancelOK       = 60<<16 | 31
	methodDeliver        = 60<<16 | 60
	methodAck            = 60<<16 | 80
	methodNack           = 60<<16 | 120
	methodSelect         = 85<<16 | 10
	methodSelectOK       = 85<<16 | 11

	frameEnd = 0xCE
)

// Answers that are the same each time.
var (
	fakeStart = methodFrame(0, methodStart, []byte{0, 9}, long(string(bytes.Join([][]byte{
		short("capabilities"),
		{'F'},
		long(string(bytes.Join([][]byte{
			short("publisher_confirms"),
			{'t', 1},
			short("basic.nack"),
			{'t', 1},
			short("consumer_cancel_notify"),
			{'t', 1},
			short("connection.blocked"),
			{'t', 1},
			short("authentication_failure_close"),
			{'t', 1},
		}, nil))),
		short("cluster_name"),
		{'S'},
		long("rabbit@fake"),
		short("copyright"),
		{'S'},
		long("Nobody's"),
		short("information"),
		{'S'},
		long("A broker for tests. See fakebroker_test.go"),
		short("platform"),
		{'S'},
		long("Go"),
		short("product"),
		{'S'},
		long("RabbitMQ"),
		short("version"),
		{'S'},
		long("0.0.0"),
	}, nil))), long("AMQPLAIN PLAIN"), long("en_US"))
	fakeTune    = methodFrame(0, methodTune, number(2, 2047), number(4, 131072), number(2, 60))
	fakeOpenOK  = methodFrame(0, methodOpenOK, short(""))
	fakeCloseOK = methodFrame(0, methodCloseOK)
)

// methodFrame is a whole method frame.
func methodFrame(channel uint16, id uint32, args ...[]byte) []byte {
	return fakeFrame(1, channel, append(number(4, uint64(id)), bytes.Join(args, nil)...))
}

// fakeFrame is a whole frame: 1 method, 2 content header, 3 body.
func fakeFrame(kind byte, channel uint16, payload []byte) []byte {
	f := append([]byte{kind}, number(2, uint64(channel))...)
	f = append(f, number(4, uint64(len(payload)))...)
	return append(append(f, payload...), frameEnd)
}

func short(s string) []byte { return append([]byte{byte(len(s))}, s...) }

func long(s string) []byte { return append(number(4, uint64(len(s))), s...) }

// number is n in this many bytes, the highest first.
func number(size int, n uint64) []byte {
	return binary.BigEndian.AppendUint64(nil, n)[8-size:]
}

// shortAt is the short string at args[i], and "" if there is none.
func shortAt(args []byte, i int) string {
	if i >= len(args) || i+1+int(args[i]) > len(args) {
		return ""
	}
	return string(args[i+1 : i+1+int(args[i])])
}

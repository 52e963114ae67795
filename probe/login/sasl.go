package login

import (
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cjworkbench/unstuck/target"
)

// plain is the SASL mechanism PLAIN.
type plain struct {
	target.Credentials

	properties amqp.Table
}

func (p *plain) Mechanism() string { return "PLAIN" }

func (p *plain) Response() string {
	offerClose(p.properties)
	return "\x00" + p.Username + "\x00" + p.Password
}

// external is the SASL mechanism EXTERNAL: the certificate says who we are, and RabbitMQ ignores the response
// (rabbit_auth_mechanism_ssl).
type external struct{ properties amqp.Table }

func (e *external) Mechanism() string { return "EXTERNAL" }

func (e *external) Response() string {
	offerClose(e.properties)
	return ""
}

// offerClose offers authentication_failure_close, without which RabbitMQ answers a wrong password with three seconds of
// silence. amqp091-go writes its own capabilities over the caller's, without that one, right before it asks the
// mechanism for the response (v1.16.0, Connection.openTune).
func offerClose(properties amqp.Table) {
	if capabilities, ok := properties["capabilities"].(amqp.Table); ok {
		capabilities["authentication_failure_close"] = true
	}
}

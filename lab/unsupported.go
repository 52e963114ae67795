package lab

import "errors"

// ErrUnsupported is what a fault gives that the RabbitMQ in the lab cannot have. The error that wraps it says why.
var ErrUnsupported = errors.New("not possible with this RabbitMQ")

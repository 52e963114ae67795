package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cjworkbench/unstuck/e2e/cluster"
)

// wedge has the logins to a node of the broker hang.
func (w where) wedge(ctx context.Context, node string) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	c, err := w.open()
	if err != nil {
		return err
	}
	broker, err := c.OpenBroker(ctx, cluster.Namespace)
	if err != nil {
		return err
	}
	if node == "" {
		node = wedgedNode
	}
	if !slices.Contains(broker.Pods(), node) {
		return fmt.Errorf("wedge %s: want one of %s", node, strings.Join(broker.Pods(), ", "))
	}
	if err := broker.Login(ctx, node); err != nil {
		return errors.Join(fmt.Errorf("wedge %s: it accepts no logins as it is", node), err)
	}
	if err := broker.WedgeLogin(ctx, node); err != nil {
		return err
	}
	fmt.Fprintf(w.out,
		`From now on logins to %[1]s wait for ever, while its checks stay green. In about a minute this is
proved, and Unstuck deletes its pod; after another one its successor accepts logins.

  watch -n 5 bin/unstuck explain rabbitmq-production %[1]s
  bin/unstuck incidents

%s`, node, budget)
	return nil
}

// wedgedNode is the node that is wedged unless another is named.
const wedgedNode = cluster.BrokerName + "-1"

// budget says what else of Unstuck's policy a person who breaks nodes comes across.
const budget = `Unstuck deletes a node once in 24 hours, leaves the broker alone for 10 minutes after each deletion, and does nothing
while two nodes are stuck: unstuck explain says which guard it is, and docs/guards.md what to do about that.
`

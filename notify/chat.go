package notify

import "strings"

// What Slack and Teams take of a text at most, in characters.
const (
	slackHeader  = 150
	slackSection = 3000
	slackField   = 2000
	teamsTitle   = 200 // a message has 28 KiB at most
	teamsText    = 1500
	teamsFact    = 200
)

var slackEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// slackText is a text as Slack shows it. Source:
// https://docs.slack.dev/reference/block-kit/composition-objects/text-object
type slackText struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// slackBlock is a block. Source: https://docs.slack.dev/reference/block-kit/blocks
type slackBlock struct {
	Type     string      `json:"type"`
	Text     *slackText  `json:"text,omitempty"`
	Fields   []slackText `json:"fields,omitempty"`
	Elements []slackText `json:"elements,omitempty"`
}

// slackBody gives a message for an incoming webhook. Source:
// https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
func slackBody(e Event, s setting) any {
	markdown := func(text string, longest int) slackText {
		return slackText{"mrkdwn", cut(slackEscaper.Replace(text), longest)}
	}
	sign := map[string]string{"critical": "🔴", "warning": "🟠"}[e.Severity()]
	if sign == "" {
		sign = "🟢"
	}
	blocks := []slackBlock{{Type: "header", Text: &slackText{"plain_text", cut(sign+" "+e.Title(), slackHeader)}}}
	if text := e.Text(); text != "" {
		section := markdown(text, slackSection)
		blocks = append(blocks, slackBlock{Type: "section", Text: &section})
	}
	var fields []slackText
	for _, f := range e.facts() { // Slack takes ten
		field := markdown(f[1], slackField-100)
		field.Text = "*" + f[0] + "*\n" + field.Text
		fields = append(fields, field)
	}
	blocks = append(blocks, slackBlock{Type: "section", Fields: fields})
	if link := s.link(e); link != "" {
		text := slackText{"mrkdwn", "<" + link + "|The whole incident>"}
		blocks = append(blocks, slackBlock{Type: "context", Elements: []slackText{text}})
	}
	return struct {
		Text   string       `json:"text"`
		Blocks []slackBlock `json:"blocks"`
	}{slackEscaper.Replace(e.Title()), blocks}
}

// cardFact is one of a card's FactSet.
type cardFact struct {
	Title string `json:"title"`
	Value string `json:"value"`
}

// cardElement is an element of an Adaptive Card. Source: https://adaptivecards.io/explorer
type cardElement struct {
	Type   string     `json:"type"`
	Text   string     `json:"text,omitempty"`
	Size   string     `json:"size,omitempty"`
	Weight string     `json:"weight,omitempty"`
	Color  string     `json:"color,omitempty"`
	Wrap   bool       `json:"wrap,omitempty"`
	Facts  []cardFact `json:"facts,omitempty"`
}

// cardAction opens a page.
type cardAction struct {
	Type  string `json:"type"`
	Title string `json:"title"`
	URL   string `json:"url"`
}

// adaptiveCard is a card of version 1.4, which Teams shows everywhere.
type adaptiveCard struct {
	Schema  string        `json:"$schema"`
	Type    string        `json:"type"`
	Version string        `json:"version"`
	Body    []cardElement `json:"body"`
	Actions []cardAction  `json:"actions,omitempty"`
}

// cardAttachment holds a card.
type cardAttachment struct {
	ContentType string       `json:"contentType"`
	ContentURL  *string      `json:"contentUrl"` // null, as Teams has it
	Content     adaptiveCard `json:"content"`
}

// teamsBody gives a message with an Adaptive Card, for the workflow "when a Teams webhook request is received". Source:
// https://learn.microsoft.com/en-us/connectors/teams/#microsoft-teams-webhook
func teamsBody(e Event, s setting) any {
	color := map[string]string{"critical": "Attention", "warning": "Warning"}[e.Severity()]
	if color == "" {
		color = "Good"
	}
	card := adaptiveCard{
		Schema: "http://adaptivecards.io/schemas/adaptive-card.json", Type: "AdaptiveCard", Version: "1.4",
		Body: []cardElement{{
			Type: "TextBlock", Text: plainMarkdown(cut(e.Title(), teamsTitle)), Size: "Large", Weight: "Bolder", Color: color,
			Wrap: true,
		}},
	}
	if text := e.Text(); text != "" {
		text = plainMarkdown(cut(text, teamsText))
		card.Body = append(card.Body, cardElement{Type: "TextBlock", Text: text, Wrap: true})
	}
	facts := cardElement{Type: "FactSet"}
	for _, f := range e.facts() {
		facts.Facts = append(facts.Facts, cardFact{f[0], plainMarkdown(cut(f[1], teamsFact))})
	}
	card.Body = append(card.Body, facts)
	if link := s.link(e); link != "" {
		card.Actions = []cardAction{{"Action.OpenUrl", "The whole incident", link}}
	}
	return struct {
		Type        string           `json:"type"`
		Attachments []cardAttachment `json:"attachments"`
	}{"message", []cardAttachment{{ContentType: "application/vnd.microsoft.card.adaptive", Content: card}}}
}

// plainMarkdown keeps what looks like a link or an emphasis from being one: names come from others.
func plainMarkdown(text string) string {
	return strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`, "*", `\*`, "_", `\_`).Replace(text)
}

// A client of the OrcaNet market service as the Go programs were: each call with a deadline of one second.
package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"fastmarket/interop/orcanet/go/market"
)

const (
	deadline = time.Second
	usage    = `usage: orcanet-go --server HOST:PORT register (--id TEXT | --id-hex HEX) [--name N] [--ip IP] [--port P] [--price N] HASH
       orcanet-go --server HOST:PORT register --no-user HASH
       orcanet-go --server HOST:PORT check HASH`
)

// holder is one User of an answer; `id` is left out where it is no text.
type holder struct {
	ID    *string `json:"id,omitempty"`
	IDHex string  `json:"id_hex"`
	Name  string  `json:"name"`
	IP    string  `json:"ip"`
	Port  int32   `json:"port"`
	Price int64   `json:"price"`
}

// outcome is the one line on stdout; `ms` is what the call took, connecting included.
type outcome struct {
	OK      bool      `json:"ok"`
	Holders *[]holder `json:"holders,omitempty"`
	Code    string    `json:"code,omitempty"`
	Message string    `json:"message,omitempty"`
	Ms      float64   `json:"ms"`
}

func main() {
	server := flag.String("server", "127.0.0.1:50051", "HOST:PORT")
	flag.Usage = func() { fmt.Fprintln(os.Stderr, usage) }
	flag.Parse()
	call, err := parse(flag.Args())
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(os.Stderr, "%v\n%s\n", err, usage)
		}
		os.Exit(2)
	}
	connection, err := grpc.NewClient(*server, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	defer connection.Close()
	if err := json.NewEncoder(os.Stdout).Encode(timed(market.NewMarketClient(connection), call)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// remote is one call of the service; it returns the holders if it is one that has any.
type remote func(context.Context, market.MarketClient) (*[]holder, error)

func parse(arguments []string) (remote, error) {
	if len(arguments) == 0 {
		return nil, errors.New("no command")
	}
	switch command, rest := arguments[0], arguments[1:]; command {
	case "register":
		return parseRegister(rest)
	case "check":
		if len(rest) != 1 {
			return nil, errors.New("check takes one HASH")
		}
		return check(rest[0]), nil
	default:
		return nil, fmt.Errorf("unknown command %q", command)
	}
}

func parseRegister(arguments []string) (remote, error) {
	flags := flag.NewFlagSet("register", flag.ContinueOnError)
	id := flags.String("id", "", "user id, text")
	idHex := flags.String("id-hex", "", "user id, bytes in hex")
	name := flags.String("name", "", "user name")
	ip := flags.String("ip", "127.0.0.1", "where the holder serves")
	port := flags.Int("port", 9000, "and its port")
	price := flags.Int64("price", 0, "per MB")
	noUser := flags.Bool("no-user", false, "leave the user out")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	if flags.NArg() != 1 {
		return nil, errors.New("register takes one HASH, after the flags")
	}
	if *port < math.MinInt32 || *port > math.MaxInt32 {
		return nil, errors.New("port is no int32")
	}
	userID := []byte(*id)
	if *idHex != "" {
		var err error
		if userID, err = hex.DecodeString(*idHex); err != nil {
			return nil, err
		}
	}
	request := &market.RegisterFileRequest{FileHash: flags.Arg(0)}
	if !*noUser {
		request.User = &market.User{Id: userID, Name: *name, Ip: *ip, Port: int32(*port), Price: *price}
	}
	return register(request), nil
}

func register(request *market.RegisterFileRequest) remote {
	return func(ctx context.Context, client market.MarketClient) (*[]holder, error) {
		_, err := client.RegisterFile(ctx, request)
		return nil, err
	}
}

func check(hash string) remote {
	return func(ctx context.Context, client market.MarketClient) (*[]holder, error) {
		response, err := client.CheckHolders(ctx, &market.CheckHoldersRequest{FileHash: hash})
		if err != nil {
			return nil, err
		}
		holders := make([]holder, 0, len(response.GetHolders()))
		for _, user := range response.GetHolders() {
			holders = append(holders, shown(user))
		}
		return &holders, nil
	}
}

func shown(user *market.User) holder {
	one := holder{
		IDHex: hex.EncodeToString(user.GetId()),
		Name:  user.GetName(),
		IP:    user.GetIp(),
		Port:  user.GetPort(),
		Price: user.GetPrice(),
	}
	if utf8.Valid(user.GetId()) {
		text := string(user.GetId())
		one.ID = &text
	}
	return one
}

func timed(client market.MarketClient, call remote) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	start := time.Now()
	holders, err := call(ctx, client)
	ms := float64(time.Since(start).Microseconds()) / 1000
	if err == nil {
		return outcome{OK: true, Holders: holders, Ms: ms}
	}
	told := status.Convert(err)
	return outcome{Code: name(told.Code()), Message: told.Message(), Ms: ms}
}

// name spells a code as the gRPC specification does: InvalidArgument is INVALID_ARGUMENT.
func name(code codes.Code) string {
	var text strings.Builder
	for position, letter := range code.String() {
		if position > 0 && unicode.IsUpper(letter) {
			text.WriteByte('_')
		}
		text.WriteRune(unicode.ToUpper(letter))
	}
	return text.String()
}

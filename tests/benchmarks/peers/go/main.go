// The article's server on Lambda in Go: the plugin is loaded once, DynamoDB is behind its host function.
package main

import (
	"context"
	"encoding/base64"
	"log"
	"os"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	extism "github.com/extism/go-sdk"
)

func memoryGet(client *dynamodb.Client) extism.HostFunction {
	function := extism.NewHostFunctionWithStack(
		"hostMemoryGet",
		func(ctx context.Context, plugin *extism.CurrentPlugin, stack []uint64) {
			key, err := plugin.ReadString(stack[0])
			if err != nil {
				panic(err)
			}
			found, err := client.GetItem(ctx, &dynamodb.GetItemInput{
				TableName: aws.String(os.Getenv("TABLE")),
				Key:       map[string]types.AttributeValue{"key": &types.AttributeValueMemberS{Value: key}},
			})
			if err != nil {
				panic(err)
			}
			value := found.Item["value"].(*types.AttributeValueMemberS)
			if stack[0], err = plugin.WriteString(value.Value); err != nil {
				panic(err)
			}
		},
		[]extism.ValueType{extism.ValueTypeI64},
		[]extism.ValueType{extism.ValueTypeI64},
	)
	return function
}

func main() {
	ctx := context.Background()
	settings, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		log.Fatal(err)
	}
	manifest := extism.Manifest{Wasm: []extism.Wasm{extism.WasmFile{Path: "simple.wasm"}}}
	functions := []extism.HostFunction{memoryGet(dynamodb.NewFromConfig(settings))}
	plugin, err := extism.NewPlugin(ctx, manifest, extism.PluginConfig{EnableWasi: true}, functions)
	if err != nil {
		log.Fatal(err)
	}

	lambda.Start(func(ctx context.Context, request events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
		body := []byte(request.Body)
		if request.IsBase64Encoded {
			if body, err = base64.StdEncoding.DecodeString(request.Body); err != nil {
				return events.APIGatewayV2HTTPResponse{StatusCode: 400}, nil
			}
		}
		_, output, err := plugin.CallWithContext(ctx, "say_hello", body)
		if err != nil {
			return events.APIGatewayV2HTTPResponse{}, err
		}
		return events.APIGatewayV2HTTPResponse{
			StatusCode: 200,
			Headers:    map[string]string{"content-type": "text/plain; charset=utf-8"},
			Body:       string(output),
		}, nil
	})
}

import io.lettuce.core.ClientOptions;
import io.lettuce.core.ReadFrom;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import io.lettuce.core.api.sync.RedisCommands;
import io.lettuce.core.codec.StringCodec;
import io.lettuce.core.masterreplica.MasterReplica;
import io.lettuce.core.masterreplica.StatefulRedisMasterReplicaConnection;
import io.lettuce.core.output.ArrayOutput;
import io.lettuce.core.output.StatusOutput;
import io.lettuce.core.protocol.CommandArgs;
import io.lettuce.core.protocol.CommandType;
import io.lettuce.core.protocol.ProtocolVersion;
import io.lettuce.core.sentinel.api.sync.RedisSentinelCommands;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * Lettuce: the calls of the Sentinel protocol, a writer and a reader that follow the primary, or one
 * that counts at a plain address.
 */
final class LettuceProgram {
    private static RedisClient client(RedisURI place, int protocol) {
        place.setTimeout(Duration.ofMillis(Phases.TIMEOUT_MS));
        RedisClient client = RedisClient.create(place);
        client.setOptions(ClientOptions.builder()
                .protocolVersion(protocol == 3 ? ProtocolVersion.RESP3 : ProtocolVersion.RESP2)
                .build());
        return client;
    }

    private static CommandArgs<String, String> words(String first, String second) {
        return new CommandArgs<>(StringCodec.UTF8).add(first).add(second);
    }

    private static List<Integer> portsOfSentinels(
            RedisSentinelCommands<String, String> sentinel, String name) {
        // The library has no call of its own for this one: the reply arrives flattened or nested.
        List<Integer> ports = new ArrayList<>();
        List<Object> reply = sentinel.dispatch(
                CommandType.SENTINEL, new ArrayOutput<>(StringCodec.UTF8), words("SENTINELS", name));
        for (Object entry : reply) {
            List<?> fields = (List<?>) entry;
            ports.add(Integer.valueOf((String) fields.get(fields.indexOf("port") + 1)));
        }
        return ports.stream().sorted().toList();
    }

    private static void calls(Phases settings, int protocol) {
        String name = settings.name;
        int port = settings.sentinels.get(0);
        RedisClient client = client(RedisURI.create("127.0.0.1", port), protocol);
        RedisSentinelCommands<String, String> sentinel = client.connectSentinel().sync();
        InetSocketAddress address = (InetSocketAddress) sentinel.getMasterAddrByName(name);
        Phases.say("calls", protocol, Map.of(
                "primary", List.of(address.getHostString(), address.getPort()),
                "masters", sentinel.masters().stream().map(each -> each.get("name")).toList(),
                "replicas", Phases.portsOf(sentinel.replicas(name)),
                "sentinels", portsOfSentinels(sentinel, name),
                "quorum", sentinel.dispatch(CommandType.SENTINEL,
                        new StatusOutput<>(StringCodec.UTF8), words("CKQUORUM", name)),
                "unknown", Phases.errorOf(() -> sentinel.master("unknown")),
                "failover", protocol == 3 ? sentinel.failover(name) : ""));
        sentinel.getStatefulConnection().close();
        client.shutdown(Duration.ZERO, Duration.ofMillis(Phases.TIMEOUT_MS));
    }

    private static void follow(Phases settings, int protocol) {
        RedisURI.Builder places = RedisURI.builder().withSentinelMasterId(settings.name);
        settings.sentinels.forEach(port -> places.withSentinel("127.0.0.1", port));
        RedisURI place = places.build();
        String key = "lettuce-" + protocol;
        RedisClient client = client(place, protocol);
        RedisCommands<String, String> writer = client.connect().sync();
        StatefulRedisMasterReplicaConnection<String, String> replicas =
                MasterReplica.connect(client, StringCodec.UTF8, place);
        replicas.setReadFrom(ReadFrom.REPLICA);
        RedisCommands<String, String> reader = replicas.sync();
        Phases.repeat("writes", protocol, value -> {
            writer.set(key, Long.toString(value));
            return new Phases.Reached(Phases.portOf(writer.info("server")), value);
        });
        Phases.repeat("reads", protocol, value -> {
            long seen = Long.parseLong(reader.get(key));
            return new Phases.Reached(Phases.portOf(reader.info("server")), seen);
        });
    }

    private static void plain(Phases settings, int protocol) {
        RedisURI place = RedisURI.create("127.0.0.1", settings.sentinels.get(0));
        RedisClient client = client(place, protocol);
        RedisCommands<String, String> commands = client.connect().sync();
        commands.setTimeout(Duration.ofMillis(Phases.PATIENCE_MS));
        String key = settings.name + ":lettuce-" + protocol;
        Phases.repeat("plain", protocol, value -> {
            long seen = Phases.counted(commands.incr(key), value);
            return new Phases.Reached(Phases.portOf(commands.info("server")), seen);
        });
    }

    public static void main(String[] arguments) {
        Phases settings = new Phases(arguments);
        for (int protocol : Phases.PROTOCOLS) {
            if (settings.isCalls) {
                calls(settings, protocol);
            } else if (settings.isPlain) {
                plain(settings, protocol);
            } else {
                follow(settings, protocol);
            }
        }
    }
}

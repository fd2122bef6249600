import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.Jedis;
import redis.clients.jedis.JedisClientConfig;
import redis.clients.jedis.Protocol;
import redis.clients.jedis.RedisProtocol;
import redis.clients.jedis.RedisSentinelClient;
import redis.clients.jedis.util.Delay;
import redis.clients.jedis.util.SafeEncoder;

/**
 * Jedis: the calls of the Sentinel protocol, a writer that follows the primary, or one that counts at
 * a plain address.
 */
final class JedisProgram {
    private static JedisClientConfig config(int protocol) {
        return DefaultJedisClientConfig.builder()
                .protocol(protocol == 3 ? RedisProtocol.RESP3 : RedisProtocol.RESP2)
                .timeoutMillis(Phases.TIMEOUT_MS)
                .build();
    }

    private static void calls(Phases settings, int protocol) {
        String name = settings.name;
        HostAndPort place = new HostAndPort("127.0.0.1", settings.sentinels.get(0));
        try (Jedis sentinel = new Jedis(place, config(protocol))) {
            List<String> address = sentinel.sentinelGetMasterAddrByName(name);
            Object quorum = sentinel.sendCommand(Protocol.Command.SENTINEL, "CKQUORUM", name);
            Phases.say("calls", protocol, Map.of(
                    "primary", List.of(address.get(0), Integer.valueOf(address.get(1))),
                    "masters", sentinel.sentinelMasters().stream().map(each -> each.get("name")).toList(),
                    "replicas", Phases.portsOf(sentinel.sentinelReplicas(name)),
                    "sentinels", Phases.portsOf(sentinel.sentinelSentinels(name)),
                    "quorum", SafeEncoder.encode((byte[]) quorum),
                    "unknown", Phases.errorOf(() -> sentinel.sentinelMaster("unknown")),
                    "failover", protocol == 3 ? sentinel.sentinelFailover(name) : ""));
        }
    }

    private static void follow(Phases settings, int protocol) {
        RedisSentinelClient client = RedisSentinelClient.builder()
                .masterName(settings.name)
                .sentinels(settings.sentinels.stream()
                        .map(port -> new HostAndPort("127.0.0.1", port))
                        .collect(Collectors.toSet()))
                .clientConfig(config(protocol))
                .sentinelClientConfig(config(protocol))
                .sentinelReconnectDelay(Delay.constant(Duration.ofMillis(200)))
                .build();
        Phases.repeat("writes", protocol, value -> {
            client.set("jedis-" + protocol, Long.toString(value));
            return new Phases.Reached(Phases.portOf(client.info("server")), value);
        });
    }

    private static void plain(Phases settings, int protocol) {
        Jedis client = new Jedis(new HostAndPort("127.0.0.1", settings.sentinels.get(0)),
                DefaultJedisClientConfig.builder()
                        .protocol(protocol == 3 ? RedisProtocol.RESP3 : RedisProtocol.RESP2)
                        .timeoutMillis(Phases.PATIENCE_MS)
                        .build());
        String key = settings.name + ":jedis-" + protocol;
        Phases.repeat("plain", protocol, value -> {
            long seen = Phases.counted(client.incr(key), value);
            return new Phases.Reached(Phases.portOf(client.info("server")), seen);
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

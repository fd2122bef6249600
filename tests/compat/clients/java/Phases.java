import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** Turns the arguments of a program into its settings, and what it finds out into lines of JSON. */
final class Phases {
    static final int TIMEOUT_MS = 1000;
    static final int PATIENCE_MS = 30_000;
    static final List<Integer> PROTOCOLS = List.of(2, 3);
    private static final int LOOP_MS = 50;
    private static final int STEPS_A_LINE = 20;
    private static final Pattern PORT = Pattern.compile("^tcp_port:(\\d+)", Pattern.MULTILINE);

    final boolean isCalls;
    final boolean isPlain;
    final String name;
    final List<Integer> sentinels;

    Phases(String[] arguments) {
        isCalls = arguments[0].equals("calls");
        isPlain = arguments[0].equals("plain");
        name = arguments[1];
        sentinels = Stream.of(arguments[2].split(",")).map(Integer::valueOf).toList();
    }

    /** Returns a count that an increment must have had, or throws. */
    static long counted(long seen, long value) {
        if (seen != value) {
            throw new IllegalStateException("increment " + value + " made " + seen);
        }
        return seen;
    }

    /** What one step of a loop reached: an instance, and a value there. */
    record Reached(int port, long value) {}

    interface Step {
        Reached run(long value) throws Exception;
    }

    interface Call {
        Object run();
    }

    static void say(String phase, int protocol, Map<String, Object> facts) {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("phase", phase);
        line.put("protocol", protocol);
        line.putAll(facts);
        synchronized (System.out) {
            System.out.println(json(line));
            System.out.flush();
        }
    }

    static int portOf(String info) {
        Matcher found = PORT.matcher(info);
        if (!found.find()) {
            throw new IllegalStateException("no tcp_port in " + info);
        }
        return Integer.parseInt(found.group(1));
    }

    static List<Integer> portsOf(List<Map<String, String>> entries) {
        return entries.stream().map(each -> Integer.valueOf(each.get("port"))).sorted().toList();
    }

    static String errorOf(Call call) {
        try {
            return "no error: " + call.run();
        } catch (RuntimeException error) {
            return String.valueOf(error.getMessage());
        }
    }

    /**
     * Repeats a step with counted values; says each instance that it reaches, once a second where
     * it is, and errors.
     */
    static void repeat(String phase, int protocol, Step step) {
        Thread thread = new Thread(() -> loop(phase, protocol, step), phase + protocol);
        thread.start();
    }

    private static void loop(String phase, int protocol, Step step) {
        int lastPort = 0;
        String lastError = "";
        for (long value = 1; ; value++) {
            try {
                Reached reached = step.run(value);
                if (reached.port() != lastPort || value % STEPS_A_LINE == 0) {
                    say(phase, protocol, Map.of("port", reached.port(), "value", reached.value()));
                }
                lastPort = reached.port();
                lastError = "";
            } catch (Exception error) {
                if (!error.toString().equals(lastError)) {
                    say("error", protocol, Map.of("during", phase, "text", error.toString()));
                }
                lastError = error.toString();
            }
            try {
                Thread.sleep(LOOP_MS);
            } catch (InterruptedException error) {
                return;
            }
        }
    }

    private static String json(Object value) {
        if (value instanceof Map<?, ?> map) {
            return map.entrySet().stream()
                    .map(each -> json(each.getKey()) + ": " + json(each.getValue()))
                    .collect(Collectors.joining(", ", "{", "}"));
        }
        if (value instanceof Collection<?> list) {
            return list.stream().map(Phases::json).collect(Collectors.joining(", ", "[", "]"));
        }
        if (value instanceof Number) {
            return value.toString();
        }
        StringBuilder text = new StringBuilder("\"");
        for (char letter : String.valueOf(value).toCharArray()) {
            if (letter == '"' || letter == '\\' || letter < ' ') {
                text.append(String.format("\\u%04x", (int) letter));
            } else {
                text.append(letter);
            }
        }
        return text.append('"').toString();
    }
}

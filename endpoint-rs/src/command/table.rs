//! The table of commands. A row is a name and what `Class` says of it.

use super::{Blocking, Class, Command, TimeoutAt, Unit, Verb};

const READ: Class = Class::READ;
const WRITE: Class = Class::WRITE;
const SESSION: Class = Class::SESSION;

/// Reads keys, soon done.
const fn get(name: &'static str) -> Command {
    row(name, READ.and(Class::SHAREABLE), Verb::Plain)
}

/// Reads, but may take long, answer much, or tell of the connection: not where others wait.
const fn look(name: &'static str) -> Command {
    row(name, READ, Verb::Plain)
}

/// Changes keys, soon done.
const fn set(name: &'static str) -> Command {
    row(name, WRITE.and(Class::SHAREABLE), Verb::Plain)
}

/// Changes something, and may take long or concern the whole instance.
const fn act(name: &'static str) -> Command {
    row(name, WRITE, Verb::Plain)
}

/// Changes something, with a password among its words.
const fn secret(name: &'static str) -> Command {
    row(name, WRITE.and(Class::SECRET), Verb::Plain)
}

const fn script(name: &'static str, class: Class) -> Command {
    row(name, class.and(Class::SCRIPT), Verb::Plain)
}

const fn refused(name: &'static str) -> Command {
    row(name, WRITE.and(Class::REFUSED), Verb::Plain)
}

const fn session(name: &'static str, verb: Verb) -> Command {
    row(name, READ.and(SESSION), verb)
}

const fn login(name: &'static str, verb: Verb) -> Command {
    row(name, READ.and(SESSION).and(Class::SECRET), verb)
}

const fn pubsub(name: &'static str, verb: Verb) -> Command {
    row(name, READ.and(Class::PUBSUB), verb)
}

const fn waits(name: &'static str, class: Class, at: TimeoutAt, unit: Unit) -> Command {
    let blocking = Some(Blocking { at, unit });
    Command { name, class: class.and(Class::BLOCKING), verb: Verb::Plain, blocking }
}

const fn row(name: &'static str, class: Class, verb: Verb) -> Command {
    Command { name, class, verb, blocking: None }
}

/// Return whether the second word decides what `name` does.
pub(super) const fn has_subcommands(name: &str) -> bool {
    const CONTAINERS: [&str; 13] = [
        "ACL", "CLIENT", "CLUSTER", "CONFIG", "FUNCTION", "LATENCY", "MEMORY", "MODULE", "OBJECT",
        "SCRIPT", "SLOWLOG", "XGROUP", "XINFO",
    ];
    let mut at = 0;
    while at < CONTAINERS.len() {
        if equals(CONTAINERS[at].as_bytes(), name.as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

const fn equals(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// All commands that are known.
#[rustfmt::skip]
pub static TABLE: &[Command] = &[
    // Strings.
    get("GET"), get("MGET"), get("STRLEN"), get("GETRANGE"), get("SUBSTR"), get("LCS"),
    get("GETBIT"), get("BITCOUNT"), get("BITPOS"), get("BITFIELD_RO"), get("DIGEST"),
    set("SET"), set("SETNX"), set("SETEX"), set("PSETEX"), set("MSET"), set("MSETNX"),
    set("MSETEX"), set("GETSET"), set("GETEX"), set("GETDEL"), set("APPEND"), set("PREPEND"),
    set("SETRANGE"), set("INCR"), set("DECR"), set("INCRBY"), set("DECRBY"), set("INCRBYFLOAT"),
    set("SETBIT"), set("BITFIELD"), set("BITOP"), set("DELIFEQ"), set("DELEX"),
    // Keys.
    get("EXISTS"), get("TYPE"), get("TTL"), get("PTTL"), get("EXPIRETIME"), get("PEXPIRETIME"),
    get("TOUCH"), get("RANDOMKEY"), get("DUMP"), get("SCAN"), get("OBJECT"), get("DBSIZE"),
    look("KEYS"), look("SORT_RO"), act("SORT"),
    set("DEL"), set("UNLINK"), set("EXPIRE"), set("EXPIREAT"), set("PEXPIRE"), set("PEXPIREAT"),
    set("PERSIST"), set("RENAME"), set("RENAMENX"), set("COPY"), set("MOVE"), set("RESTORE"),
    act("RESTORE-ASKING"), secret("MIGRATE"), set("STICK"), set("FIELDEXPIRE"), get("FIELDTTL"),
    // Hashes.
    get("HGET"), get("HMGET"), get("HGETALL"), get("HKEYS"), get("HVALS"), get("HLEN"),
    get("HEXISTS"), get("HSTRLEN"), get("HRANDFIELD"), get("HSCAN"), get("HTTL"), get("HPTTL"),
    get("HEXPIRETIME"), get("HPEXPIRETIME"),
    set("HSET"), set("HMSET"), set("HSETNX"), set("HDEL"), set("HINCRBY"), set("HINCRBYFLOAT"),
    set("HEXPIRE"), set("HPEXPIRE"), set("HEXPIREAT"), set("HPEXPIREAT"), set("HPERSIST"),
    set("HGETEX"), set("HSETEX"), set("HGETDEL"),
    // Lists.
    get("LLEN"), get("LRANGE"), get("LINDEX"), get("LPOS"),
    set("LPUSH"), set("RPUSH"), set("LPUSHX"), set("RPUSHX"), set("LPOP"), set("RPOP"),
    set("LSET"), set("LREM"), set("LTRIM"), set("LINSERT"), set("RPOPLPUSH"), set("LMOVE"),
    set("LMPOP"),
    waits("BLPOP", WRITE, TimeoutAt::Last, Unit::Seconds),
    waits("BRPOP", WRITE, TimeoutAt::Last, Unit::Seconds),
    waits("BRPOPLPUSH", WRITE, TimeoutAt::Word(3), Unit::Seconds),
    waits("BLMOVE", WRITE, TimeoutAt::Word(5), Unit::Seconds),
    waits("BLMPOP", WRITE, TimeoutAt::Word(1), Unit::Seconds),
    // Sets.
    get("SMEMBERS"), get("SISMEMBER"), get("SMISMEMBER"), get("SCARD"), get("SRANDMEMBER"),
    get("SSCAN"), get("SINTER"), get("SINTERCARD"), get("SUNION"), get("SDIFF"),
    set("SADD"), set("SADDEX"), set("SREM"), set("SPOP"), set("SMOVE"), set("SINTERSTORE"),
    set("SUNIONSTORE"), set("SDIFFSTORE"),
    // Sorted sets.
    get("ZSCORE"), get("ZMSCORE"), get("ZRANK"), get("ZREVRANK"), get("ZCARD"), get("ZCOUNT"),
    get("ZLEXCOUNT"), get("ZRANGE"), get("ZREVRANGE"), get("ZRANGEBYSCORE"),
    get("ZREVRANGEBYSCORE"), get("ZRANGEBYLEX"), get("ZREVRANGEBYLEX"), get("ZRANDMEMBER"),
    get("ZSCAN"), get("ZINTER"), get("ZINTERCARD"), get("ZUNION"), get("ZDIFF"),
    set("ZADD"), set("ZREM"), set("ZINCRBY"), set("ZREMRANGEBYRANK"), set("ZREMRANGEBYSCORE"),
    set("ZREMRANGEBYLEX"), set("ZPOPMIN"), set("ZPOPMAX"), set("ZMPOP"), set("ZRANGESTORE"),
    set("ZINTERSTORE"), set("ZUNIONSTORE"), set("ZDIFFSTORE"),
    waits("BZPOPMIN", WRITE, TimeoutAt::Last, Unit::Seconds),
    waits("BZPOPMAX", WRITE, TimeoutAt::Last, Unit::Seconds),
    waits("BZMPOP", WRITE, TimeoutAt::Word(1), Unit::Seconds),
    // HyperLogLog, places.
    get("PFCOUNT"), set("PFADD"), set("PFMERGE"),
    get("GEOPOS"), get("GEODIST"), get("GEOHASH"), get("GEOSEARCH"), get("GEORADIUS_RO"),
    get("GEORADIUSBYMEMBER_RO"), set("GEOADD"), set("GEORADIUS"), set("GEORADIUSBYMEMBER"),
    set("GEOSEARCHSTORE"),
    // Streams.
    get("XLEN"), get("XRANGE"), get("XREVRANGE"), get("XPENDING"), get("XINFO"),
    set("XADD"), set("XDEL"), set("XDELEX"), set("XTRIM"), set("XACK"), set("XACKDEL"),
    set("XCLAIM"), set("XAUTOCLAIM"), set("XGROUP"), set("XSETID"),
    waits("XREAD", READ, TimeoutAt::AfterBlock, Unit::Milliseconds),
    waits("XREADGROUP", WRITE, TimeoutAt::AfterBlock, Unit::Milliseconds),
    // Vectors.
    get("VSIM"), get("VDIM"), get("VCARD"), get("VEMB"), get("VLINKS"), get("VINFO"),
    get("VRANDMEMBER"), get("VGETATTR"), get("VISMEMBER"), get("VRANGE"),
    set("VADD"), set("VREM"), set("VSETATTR"),
    // JSON.
    get("JSON.GET"), get("JSON.MGET"), get("JSON.TYPE"), get("JSON.STRLEN"), get("JSON.ARRLEN"),
    get("JSON.OBJKEYS"), get("JSON.OBJLEN"), get("JSON.ARRINDEX"), get("JSON.RESP"),
    look("JSON.DEBUG"),
    set("JSON.SET"), set("JSON.DEL"), set("JSON.FORGET"), set("JSON.CLEAR"), set("JSON.TOGGLE"),
    set("JSON.NUMINCRBY"), set("JSON.NUMMULTBY"), set("JSON.STRAPPEND"), set("JSON.ARRAPPEND"),
    set("JSON.ARRINSERT"), set("JSON.ARRPOP"), set("JSON.ARRTRIM"), set("JSON.MERGE"),
    set("JSON.MSET"),
    // Search.
    look("FT.SEARCH"), look("FT.AGGREGATE"), look("FT.INFO"), look("FT._LIST"),
    look("FT.EXPLAIN"), look("FT.PROFILE"), look("FT.TAGVALS"), look("FT.HYBRID"),
    act("FT.CREATE"), act("FT.DROPINDEX"), act("FT.ALTER"), act("FT.CONFIG"), act("FT.SYNUPDATE"),
    look("FT.SYNDUMP"),
    // Sketches and limits of rate.
    get("BF.EXISTS"), get("BF.MEXISTS"), get("BF.INFO"), get("BF.CARD"), get("BF.SCANDUMP"),
    set("BF.ADD"), set("BF.MADD"), set("BF.RESERVE"), set("BF.INSERT"), set("BF.LOADCHUNK"),
    get("CF.EXISTS"), get("CF.MEXISTS"), get("CF.COUNT"), get("CF.INFO"),
    set("CF.ADD"), set("CF.ADDNX"), set("CF.DEL"), set("CF.RESERVE"), set("CF.INSERT"),
    set("CF.INSERTNX"),
    get("CMS.QUERY"), get("CMS.INFO"), set("CMS.INITBYDIM"), set("CMS.INITBYPROB"),
    set("CMS.INCRBY"), set("CMS.MERGE"),
    get("TOPK.QUERY"), get("TOPK.COUNT"), get("TOPK.LIST"), get("TOPK.INFO"), set("TOPK.ADD"),
    set("TOPK.RESERVE"), set("TOPK.INCRBY"), set("CL.THROTTLE"), set("RL.THROTTLE"),
    // Messages.
    set("PUBLISH"), set("SPUBLISH"), get("PUBSUB"),
    pubsub("SUBSCRIBE", Verb::Subscribe), pubsub("UNSUBSCRIBE", Verb::Unsubscribe),
    pubsub("PSUBSCRIBE", Verb::PSubscribe), pubsub("PUNSUBSCRIBE", Verb::PUnsubscribe),
    pubsub("SSUBSCRIBE", Verb::SSubscribe), pubsub("SUNSUBSCRIBE", Verb::SUnsubscribe),
    // Transactions.
    row("MULTI", READ.and(Class::TRANSACTION), Verb::Multi),
    row("EXEC", WRITE.and(Class::TRANSACTION), Verb::Exec),
    row("DISCARD", READ.and(Class::TRANSACTION), Verb::Discard),
    row("WATCH", READ.and(Class::WATCH), Verb::Watch),
    row("UNWATCH", READ.and(Class::WATCH), Verb::Unwatch),
    // Scripts.
    script("EVAL", WRITE), script("EVALSHA", WRITE), script("FCALL", WRITE),
    script("EVAL_RO", READ), script("EVALSHA_RO", READ), script("FCALL_RO", READ),
    script("SCRIPT", WRITE), script("SCRIPT|LOAD", READ), script("SCRIPT|EXISTS", READ),
    script("SCRIPT|SHOW", READ), script("FUNCTION", WRITE), script("FUNCTION|LIST", READ),
    script("FUNCTION|DUMP", READ), script("FUNCTION|STATS", READ),
    // What the connection is.
    login("AUTH", Verb::Auth), login("HELLO", Verb::Hello), session("SELECT", Verb::Select),
    session("RESET", Verb::Reset), session("QUIT", Verb::Quit),
    session("READONLY", Verb::ReadOnly), session("READWRITE", Verb::ReadWrite),
    session("ASKING", Verb::Plain),
    session("CLIENT", Verb::ClientOther), session("CLIENT|SETNAME", Verb::SetName),
    session("CLIENT|SETINFO", Verb::SetInfo), session("CLIENT|NO-EVICT", Verb::NoEvict),
    session("CLIENT|NO-TOUCH", Verb::NoTouch), session("CLIENT|REPLY", Verb::Reply),
    session("CLIENT|TRACKING", Verb::Tracking), session("CLIENT|CACHING", Verb::Caching),
    session("CLIENT|ID", Verb::Id), session("CLIENT|CAPA", Verb::Capa),
    session("CLIENT|MAINT_NOTIFICATIONS", Verb::MaintNotifications),
    get("CLIENT|GETNAME"), look("CLIENT|INFO"), look("CLIENT|LIST"), look("CLIENT|HELP"),
    look("CLIENT|TRACKINGINFO"), look("CLIENT|GETREDIR"), act("CLIENT|KILL"),
    act("CLIENT|PAUSE"), act("CLIENT|UNPAUSE"), act("CLIENT|UNBLOCK"),
    row("WAIT", READ.and(Class::WAIT), Verb::Wait),
    row("WAITAOF", READ.and(Class::WAIT), Verb::WaitAof),
    // What the instance is.
    get("PING"), get("ECHO"), get("TIME"), get("LASTSAVE"), get("INFO"), get("ROLE"),
    get("LOLWUT"), look("COMMAND"),
    get("MEMORY"), act("MEMORY|PURGE"), act("MEMORY|MALLOC-STATS"),
    secret("CONFIG"), look("CONFIG|GET"), look("CONFIG|HELP"),
    secret("ACL"), get("ACL|WHOAMI"), look("ACL|LIST"), look("ACL|GETUSER"), look("ACL|USERS"),
    look("ACL|CAT"), look("ACL|LOG"), look("ACL|DRYRUN"), look("ACL|GENPASS"),
    act("LATENCY"), look("LATENCY|LATEST"), look("LATENCY|HISTORY"), look("LATENCY|HISTOGRAM"),
    look("LATENCY|DOCTOR"), look("LATENCY|GRAPH"),
    act("SLOWLOG"), look("SLOWLOG|GET"), look("SLOWLOG|LEN"),
    act("MODULE"), look("MODULE|LIST"),
    act("FLUSHALL"), act("FLUSHDB"), act("SWAPDB"), act("SAVE"), act("BGSAVE"),
    act("BGREWRITEAOF"),
    act("CLUSTER"), look("CLUSTER|INFO"), look("CLUSTER|NODES"), look("CLUSTER|SLOTS"),
    look("CLUSTER|SHARDS"), look("CLUSTER|MYID"), look("CLUSTER|MYSHARDID"),
    look("CLUSTER|LINKS"), look("CLUSTER|KEYSLOT"), look("CLUSTER|COUNTKEYSINSLOT"),
    look("CLUSTER|GETKEYSINSLOT"), look("CLUSTER|SLOT-STATS"),
    row("DEBUG", WRITE.and(Class::DEBUG), Verb::Plain),
    // What belongs to those who keep the store, not to those who use it.
    refused("MONITOR"), refused("SYNC"), refused("PSYNC"), refused("REPLCONF"),
    refused("REPLICAOF"), refused("SLAVEOF"), refused("ADDREPLICAOF"), refused("FAILOVER"),
    refused("REPLTAKEOVER"), refused("DFLY"), refused("DFLYCLUSTER"), refused("SHUTDOWN"),
    refused("CLUSTER|FAILOVER"), refused("CLUSTER|REPLICATE"), refused("CLUSTER|RESET"),
    row("POST", WRITE.and(Class::REFUSED), Verb::Http),
    row("HOST:", WRITE.and(Class::REFUSED), Verb::Http),
];

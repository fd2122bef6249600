//! The way of commands: over which connection each one goes, or why it has to wait.
//!
//! Clients without state share connections; one with state, with big replies or that reads slowly
//! has its own. A change of connection happens only between commands, when all replies of the old
//! one have come.

use std::time::Duration;

use super::instance::{PoolKey, SLOW_INSTANCE_BYTES};
use super::{Worker, flow::Flow};
use crate::client::{Home, Wait};
use crate::command::{Class, Command, lookup};
use crate::config::Kind;
use crate::resp::request::Request;
use crate::session::{Mark, Route, Setting, Verdict};
use crate::stats::SAMPLE_EVERY;
use crate::upstream::{Owner, Pending, Purpose, Target};

/// A longer command does not go over a connection that others share.
pub(super) const SHARED_BYTES_MAX: usize = 64 * 1024;

/// How long a client keeps a connection of its own after it last needed one.
pub(super) const KEEPS_OWN: Duration = Duration::from_secs(5);

/// What readers are told when there is no replica for them.
pub(super) const NO_REPLICA: &[u8] =
    b"-NOREPLICAS everfly: no replica is in sync and near enough to the primary\r\n";

impl Worker {
    /// Take one command of a client.
    pub(super) fn take(&mut self, index: usize, request: &Request<'_>) -> Flow {
        self.look_at_gate();
        let setting = self.setting();
        let Some(client) = self.clients.get_mut(index) else { return Flow::Gone };
        if client.wait != Wait::No || !client.parked.is_empty() {
            return Flow::Stays;
        }
        if client.blocked.is_some() {
            // Were it sent now, it would wait at the instance, where nothing can hold it.
            client.wait = Wait::Replies;
            return Flow::Stays;
        }
        client.has_spoken = true;
        let command = lookup(request.first(), request.second());
        let verdict = client.session.judge(command, request, &setting);
        let forward = match &verdict {
            Verdict::Forward(forward) => forward,
            Verdict::Answer(answer) => {
                client.session.accept(command, request, &verdict, &setting);
                self.station.stats.requests.one();
                self.answer(index, &answer.line);
                self.count_handoff(index, command);
                if answer.closes {
                    self.finish(index);
                }
                return Flow::Taken;
            }
        };
        let upstream = match self.route(index, forward.route == Route::Own) {
            Ok(upstream) if self.enter(upstream) => upstream,
            Ok(_) | Err(Wait::Held) => return self.hold_or_refuse(index, command),
            Err(Wait::No) => {
                self.answer(index, NO_REPLICA);
                return Flow::Taken;
            }
            Err(wait) => {
                self.clients[index].wait = wait;
                return Flow::Stays;
            }
        };
        if let Some(before) = forward.before {
            let pending = super::instance::pending_of(Purpose::Swallow, before.len());
            self.upstreams[upstream].push(before, pending);
        }
        if forward.route == Route::Own && !command.class.has(Class::SESSION) {
            // Who uses a transaction or a script soon uses the next.
            self.clients[index].keeps_own_until = self.now + KEEPS_OWN;
        }
        let bytes = forward.instead.unwrap_or(request.bytes());
        self.begin_to_block(index, upstream, bytes, command);
        self.send(index, upstream, bytes, (command, forward.mark));
        self.clients[index].session.accept(command, request, &verdict, &setting);
        let stats = &self.station.stats;
        stats.requests.one();
        if self.clients[index].kind == Kind::Replicas {
            self.count_read(self.upstreams[upstream].target);
        }
        Flow::Taken
    }

    fn setting(&self) -> Setting {
        Setting {
            term: self.gate.seat.view().term,
            allows_debug: self.shared.config.allow_debug,
            offers_maintenance: true,
        }
    }

    /// Find or open the connection for a client's next command.
    #[inline]
    pub(super) fn route(&mut self, index: usize, needs_own: bool) -> Result<usize, Wait> {
        let client = &self.clients[index];
        if client.kind == Kind::Primary && !self.gate.is_open() {
            return Err(Wait::Held);
        }
        if let Some(home) = client.home
            && let Some(upstream) = self.upstreams.get(home.upstream)
            && upstream.serial == home.serial
        {
            if upstream.log.backlog() > SLOW_INSTANCE_BYTES {
                let serial = client.serial;
                self.upstreams[home.upstream].waiting.push((index, serial));
                return Err(Wait::Instance);
            }
            let is_well_placed =
                client.kind == Kind::Primary || self.is_well_placed(upstream.target);
            let keeps = needs_own || client.outstanding > 0 || self.now < client.keeps_own_until;
            let wants_own = needs_own || self.now < client.keeps_own_until;
            if is_well_placed && (home.is_own && keeps || !home.is_own && !wants_own) {
                return Ok(home.upstream);
            }
        }
        self.move_home(index, needs_own)
    }

    /// Give a client another connection, once all replies of the present one have come.
    #[cold]
    fn move_home(&mut self, index: usize, needs_own: bool) -> Result<usize, Wait> {
        let client = &mut self.clients[index];
        if client.outstanding > 0 {
            return Err(Wait::Replies);
        }
        let wants_own = needs_own || self.now < client.keeps_own_until;
        let old = client.home.take();
        let Some(target) = self.target(index) else {
            return Err(self.without_target(index));
        };
        let client = &self.clients[index];
        let key = if wants_own { None } else { client.session.share_key() };
        let (upstream, is_own) = match key {
            Some(session) => {
                let key = PoolKey { target, session };
                (self.pooled(index, &key, old), false)
            }
            None => (self.own(index, target), true),
        };
        if let Some(old) = old.filter(|old| old.is_own && (is_own || old.upstream != upstream)) {
            self.drop_instance(old.upstream, old.serial);
        }
        let serial = self.upstreams[upstream].serial;
        self.clients[index].home = Some(Home { upstream, serial, is_own });
        Ok(upstream)
    }

    /// Open a connection for one client alone and set it up.
    fn own(&mut self, index: usize, target: Target) -> usize {
        let client = &self.clients[index];
        let (serial, restore) = (client.serial, client.session.restore());
        let owner = Owner::Client(u32::try_from(index).unwrap_or(u32::MAX), serial);
        let upstream = self.open_instance(target, owner);
        self.restore(upstream, &restore);
        self.upstreams[upstream].is_simple = false;
        if restore.replies > 0
            && let Some(news) = self.clients[index].session.news_after_restore()
        {
            self.leave_for(index, news);
        }
        upstream
    }

    /// Find or open a connection that clients share.
    ///
    /// A client's own connection, which it no longer needs, becomes a shared one where there are
    /// too few: it is set up already.
    pub(super) fn pooled(&mut self, index: usize, key: &PoolKey, old: Option<Home>) -> usize {
        let pool = *self.pool_of.entry(key.clone()).or_insert_with(|| {
            let members = Vec::new();
            self.pools.insert(super::instance::Pool { key: key.clone(), members, idle_sweeps: 0 })
        });
        let members = &self.pools[pool].members;
        let wanted = self.shared.config.upstream.shared_per_worker;
        if members.len() >= wanted {
            return members[index % members.len()];
        }
        let adopted = old.filter(|old| old.is_own).and_then(|old| {
            self.upstreams.get(old.upstream).filter(|it| {
                it.serial == old.serial
                    && it.target == key.target
                    && it.pending.is_empty()
                    && it.withheld.is_empty()
                    && it.input.is_empty()
                    && !it.framer.is_inside()
            })?;
            Some(old.upstream)
        });
        let upstream = match adopted {
            Some(upstream) => {
                let it = &mut self.upstreams[upstream];
                it.owner = Owner::Pool(pool);
                self.own_upstreams -= 1;
                it.is_simple = !self.shared.has_acks();
                upstream
            }
            None => {
                let restore = self.clients[index].session.restore();
                let upstream = self.open_instance(key.target, Owner::Pool(pool));
                self.restore(upstream, &restore);
                self.upstreams[upstream].is_simple = !self.shared.has_acks();
                upstream
            }
        };
        self.pools[pool].members.push(upstream);
        upstream
    }

    /// Pass the gate with one command. It may have been closed since it was last looked at.
    #[inline]
    pub(super) fn enter(&mut self, upstream: usize) -> bool {
        !self.upstreams[upstream].target.is_primary || self.gate.seat.enter(1)
    }

    /// Put a command that has passed the gate on a connection and await its reply.
    #[inline]
    pub(super) fn send(
        &mut self,
        index: usize,
        upstream: usize,
        bytes: &[u8],
        (command, mark): (&'static Command, Mark),
    ) {
        let awaits_acks =
            !self.upstreams[upstream].is_simple && self.will_be_confirmed(upstream, command);
        let client = &mut self.clients[index];
        client.outstanding += 1;
        let pending = Pending {
            purpose: Purpose::Client,
            client: u32::try_from(index).unwrap_or(u32::MAX),
            serial: client.serial,
            bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            command,
            mark,
            awaits_acks,
        };
        let it = &mut self.upstreams[upstream];
        it.push(bytes, pending);
        self.sample_in -= 1;
        if self.sample_in == 0 {
            self.sample_in = SAMPLE_EVERY;
            if it.sample.is_none() {
                it.sample = Some((it.sent, self.now));
            }
        }
        self.soil_instance(upstream);
    }

    /// Answer a client ourselves, in its turn.
    pub(super) fn answer(&mut self, index: usize, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(index) else { return };
        let home = client.home.filter(|home| {
            self.upstreams.get(home.upstream).is_some_and(|it| it.serial == home.serial)
        });
        let Some(home) = home.filter(|_| client.outstanding > 0) else {
            self.give(index, bytes);
            self.station.stats.replies.one();
            return;
        };
        client.outstanding += 1;
        let pending = Pending {
            client: u32::try_from(index).unwrap_or(u32::MAX),
            serial: client.serial,
            ..super::instance::pending_of(Purpose::Ours, 0)
        };
        let upstream = &mut self.upstreams[home.upstream];
        upstream.push(&[], pending);
        upstream.ours.push_back(bytes.to_vec());
        self.hand_out_ours(home.upstream);
    }

    /// Hold a client's next command, or answer it when commands have been held for too long.
    fn hold_or_refuse(&mut self, index: usize, command: &'static Command) -> Flow {
        if !self.is_window_over() {
            self.hold_client(index);
            return Flow::Stays;
        }
        self.station.stats.answered_loading.one();
        let client = &mut self.clients[index];
        if client.session.is_in_transaction()
            && client.outstanding == 0
            && let Some(home) = client.home.take_if(|home| home.is_own)
        {
            // A transaction that lacks a command must fail: it is set up anew, as one that does.
            self.drop_instance(home.upstream, home.serial);
        }
        let client = &mut self.clients[index];
        let line = client.session.refuse(command, self.shared.loading());
        self.answer(index, &line);
        Flow::Taken
    }
}

//! Clients: who may connect, what they send, what they are owed.

use super::*;

impl Daemon {
    pub(super) fn accept(&mut self) {
        let Some(endpoint) = &self.endpoint else {
            return;
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Whatever fails here (the client has gone, too many open files) is the
        // client's loss alone; it sees its connection end.
        let Ok(socket) = accept_with(endpoint.listener(), flags) else {
            return;
        };
        let now = Instant::now();
        let id = self.number();
        let mut connection = Connection::new(socket, now);
        let checked = check_peer(&connection.socket, &self.options.peer_uids);
        let checked = checked.and_then(|()| {
            if self.connections.len() < MAX_CONNECTIONS {
                return Ok(());
            }
            let message = format!("{MAX_CONNECTIONS} connections are open");
            Err(Error::refused(Code::Busy, message))
        });
        if let Err(error) = checked {
            say_last_word(&mut connection, &error);
            return;
        }
        if self
            .poller
            .add(&connection.socket, Token::Connection(id))
            .is_ok()
        {
            self.poller.set(now + PATIENCE, Alarm::Patience(id));
            self.connections.insert(id, connection);
        }
    }

    pub(super) fn read_connection(&mut self, id: ConnectionId, broken: bool) {
        self.flush(id);
        for _ in 0..PACKETS_IN_TURN {
            let Some(connection) = self.connections.get_mut(&id) else {
                return;
            };
            if !connection.wanted_interest().0 && !broken {
                break;
            }
            let flags = RecvFlags::DONTWAIT;
            match packet::receive(&connection.socket, &mut self.buffer, flags) {
                Ok(Some(received)) => self.take_packet(id, received),
                Err(rustix::io::Errno::WOULDBLOCK) => break,
                Ok(None) | Err(_) => return self.close(id, None),
            }
        }
        self.flush(id);
    }

    pub(super) fn take_packet(&mut self, id: ConnectionId, received: packet::Received) {
        let allowance = self.allowance();
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let packet = self.buffer.get(..received.bytes).unwrap_or_default();
        let now = Instant::now();
        let patient = connection.tries_patience();
        let too_long = received.bytes > packet::MAX_BYTES;
        let action = match received.cut || too_long {
            true => Err(cut_packet(packet.len())),
            false => connection.take(packet, received.fds, allowance, now),
        };
        if !patient && connection.tries_patience() {
            self.poller.set(now + PATIENCE, Alarm::Patience(id));
        }
        match action {
            Ok(Action::Nothing) => {}
            Ok(Action::Welcome) => self.welcome(id),
            Ok(Action::Run(request)) => self.enter(id, request, now),
            Ok(Action::Refuse(number, error)) => self.refuse(id, number, &error),
            Ok(Action::Cancel(job)) => self.cancel(job),
            Ok(Action::Status(number)) => self.tell_status(id, number),
            Err(error) => self.close(id, Some(error)),
        }
    }

    pub(super) fn allowance(&self) -> Allowance {
        let held: usize = self.connections.values().map(Connection::held).sum();
        let taken: usize = self.jobs.values().map(|job| job.fds.len()).sum();
        // Three descriptors a VM, and some for what is open anyway.
        let room = self.open_files.saturating_sub(64 + 3 * self.jobs.len());
        Allowance {
            request: self.max_descriptors,
            now: room.saturating_sub(held + taken),
        }
    }

    pub(super) fn welcome(&mut self, id: ConnectionId) {
        let welcome = Welcome {
            version: protocol::VERSION,
            zvm: env!("CARGO_PKG_VERSION"),
            engine: engine::VERSION,
            slots: self.options.slots,
            queue: self.options.queue,
            max_descriptors: self.max_descriptors,
            user_ids: self.user_ids.clone(),
            landlock: lockdown::has_landlock(),
        };
        // Numbers and words always serialise.
        let document = serde_json::to_vec(&welcome).unwrap_or_default();
        self.send(id, b'H', 0, &document);
    }

    pub(super) fn tell_status(&mut self, id: ConnectionId, number: u32) {
        let (idle, programs) = self.nursery.counts();
        let vms: Vec<_> = self
            .jobs
            .values()
            .filter_map(|job| self.vm_of(job))
            .collect();
        let document = json!({
            "version": protocol::VERSION,
            "pid": std::process::id(),
            "draining": self.endpoint.is_none(),
            "slots": self.options.slots, "taken": self.admission.taken(),
            "queue": self.options.queue, "waiting": self.admission.waiting(),
            "connections": self.connections.len(),
            "idle": idle, "programs": programs,
            "vms": vms,
        });
        self.send(id, b'S', number, document.to_string().as_bytes());
    }

    pub(super) fn vm_of(&self, job: &Job) -> Option<serde_json::Value> {
        let Stage::Running(running) = &job.stage else {
            return None;
        };
        let pid = self.processes.get(&running.process)?.pid;
        let wall = running.started.elapsed();
        Some(json!({
            "job": job.manifest.job, "node": job.manifest.node,
            "pid": pid.as_raw_nonzero().get(),
            "wall_seconds": crate::report::seconds(wall),
        }))
    }

    pub(super) fn send(
        &mut self,
        id: ConnectionId,
        kind: u8,
        number: u32,
        document: &[u8],
    ) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.outbox.is_empty() {
            connection.taken = Instant::now();
        }
        let packets = protocol::answer(kind, number, document, packet::MAX_BYTES);
        for packet in packets {
            connection.outbox.push(packet, Vec::new());
        }
        self.flush(id);
    }

    pub(super) fn flush(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let before = connection.outbox.bytes();
        if connection.outbox.flush(&connection.socket).is_err() {
            return self.close(id, None);
        }
        if connection.outbox.bytes() < before {
            connection.taken = Instant::now();
        }
        let wanted = connection.wanted_interest();
        if wanted != connection.interest {
            connection.interest = wanted;
            let token = Token::Connection(id);
            // It was added; this cannot fail while it is open.
            let _ = self.poller.modify(&connection.socket, token, wanted);
        }
    }

    pub(super) fn refuse(&mut self, id: ConnectionId, number: u32, error: &Error) {
        self.send(id, b'R', number, error.document().as_bytes());
    }

    /// Ends a connection, with a last word if there is one, and all of its jobs.
    pub(super) fn close(&mut self, id: ConnectionId, error: Option<Error>) {
        let Some(mut connection) = self.connections.remove(&id) else {
            return;
        };
        self.poller.remove(&connection.socket);
        if let Some(error) = error {
            log("connection_ended", &error);
            say_last_word(&mut connection, &error);
        }
        for job in connection.jobs.into_values() {
            self.cancel(job);
        }
    }

    pub(super) fn lose_patience(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        match connection.check_patience(now) {
            Err(error) => self.close(id, Some(error)),
            Ok(()) if connection.tries_patience() => {
                self.poller.set(now + TICK, Alarm::Patience(id));
            }
            Ok(()) => {}
        }
    }
}

fn cut_packet(bytes: usize) -> Error {
    if bytes > packet::MAX_BYTES {
        let max = packet::MAX_BYTES;
        return protocol::bad(format!("has more than {max} bytes"));
    }
    let message = "has descriptors that could not be taken: at most 253 go with one \
                   packet, and no more than this daemon's limit on open files";
    protocol::bad(message.to_owned())
}

/// Tells a client why its connection ends, if it listens.
fn say_last_word(connection: &mut Connection, error: &Error) {
    let document = error.document();
    let packets = protocol::answer(b'E', 0, document.as_bytes(), packet::MAX_BYTES);
    for packet in packets {
        connection.outbox.push(packet, Vec::new());
    }
    let _ = connection.outbox.flush(&connection.socket);
    let mut unread = vec![0; packet::MAX_BYTES];
    for _ in 0..MAX_UNREAD {
        let flags = RecvFlags::DONTWAIT;
        match packet::receive(&connection.socket, &mut unread, flags) {
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

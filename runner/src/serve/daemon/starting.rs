//! A job from its request to a process of its own.

use super::*;

/// Of so many descriptors that were sent, our copies may wait to be closed.
const FEW_DESCRIPTORS: usize = 8;

impl Daemon {
    pub(super) fn enter(&mut self, id: ConnectionId, request: Request, now: Instant) {
        let number = request.number;
        let queue = request.queue;
        match self.make_job(id, request, now) {
            Ok(job) => self.admit(job, queue, now),
            Err(error) => self.refuse(id, number, &error),
        }
    }

    pub(super) fn make_job(
        &mut self,
        id: ConnectionId,
        request: Request,
        now: Instant,
    ) -> Result<Job, Error> {
        if self.endpoint.is_none() {
            let message = "the daemon ends; another one will take its place";
            return Err(Error::refused(Code::Draining, message));
        }
        let manifest = manifest::parse(&request.manifest, request.fds.len())?;
        check_all_named(&manifest, request.fds.len())?;
        let key = Key::of(&manifest, &request.fds);
        Ok(Job {
            connection: id,
            request: request.number,
            manifest,
            text: request.manifest,
            fds: request.fds,
            key,
            arrived: now,
            admitted: now,
            alarm: None,
            stage: Stage::Queued,
            cancelled: false,
        })
    }

    pub(super) fn admit(&mut self, mut job: Job, queue: Duration, now: Instant) {
        let id = self.number();
        match self.admission.enter(id, !queue.is_zero()) {
            Entry::Full => {
                let message = format!(
                    "all {} slots are taken and {} requests wait",
                    self.options.slots,
                    self.admission.waiting()
                );
                let error = Error::refused(Code::Busy, message);
                self.refuse(job.connection, job.request, &error);
            }
            Entry::Queued => {
                job.alarm = Some(self.poller.set(now + queue, Alarm::Queue(id)));
                self.insert(id, job);
            }
            Entry::Slot => {
                self.insert(id, job);
                self.start(id, now);
            }
        }
    }

    pub(super) fn insert(&mut self, id: JobId, job: Job) {
        if let Some(connection) = self.connections.get_mut(&job.connection) {
            connection.jobs.insert(job.request, id);
        }
        self.jobs.insert(id, job);
        self.most_jobs = self.most_jobs.max(self.jobs.len());
    }

    pub(super) fn waited_too_long(&mut self, id: JobId) {
        if !self.admission.give_up(id) {
            return;
        }
        let message = format!("no slot of {} came free in time", self.options.slots);
        self.finish(id, Err(Error::refused(Code::Busy, message)));
    }

    /// The job has a slot: gets it a process.
    pub(super) fn start(&mut self, id: JobId, now: Instant) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        if let Some(alarm) = job.alarm.take() {
            self.poller.unset(alarm);
        }
        job.admitted = now;
        self.ask(id, now);
    }

    pub(super) fn ask(&mut self, id: JobId, now: Instant) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        job.stage = Stage::Starting;
        match self.nursery.ask(id, &job.manifest, job.key.as_ref(), now) {
            Ok(Answer::Spare(spare)) => self.assign(id, spare),
            Ok(Answer::Later) => {}
            Err(error) => self.finish(id, Err(error)),
        }
    }

    /// Sends a job to a process, which is its VM from then on.
    pub(super) fn assign(&mut self, id: JobId, spare: Spare) {
        if let Err(error) = self.try_assign(id, spare) {
            self.finish(id, Err(error));
        }
    }

    pub(super) fn try_assign(&mut self, id: JobId, spare: Spare) -> Result<(), Error> {
        let Some(job) = self.jobs.get_mut(&id) else {
            return Ok(());
        };
        let Some(process) = self.processes.get_mut(&spare.process) else {
            // It has died in the meantime.
            self.ask(id, Instant::now());
            return Ok(());
        };
        let ledger = idle::shaped(&spare.ledger, &job.manifest)
            .ok_or_else(|| Error::failure("ledger", "it is too small"))?;
        let outputs = outputs::keep_copies(&job.manifest, &job.fds)?;
        let key = job.key.take().filter(|key| self.nursery.is_new(key));
        let files = key.is_some().then(|| files_of_key(&job.manifest, &job.fds));
        let fds = session::in_order(&job.manifest, std::mem::take(&mut job.fds))?;
        channel::make_all_wait(&fds);
        let descriptors = fds.len();
        let mut outbox = idle::job_packets(&job.text, fds)?;
        job.text = Vec::new();
        let started = Instant::now();
        let mut sent = Vec::new();
        let sending = match outbox.flush_into(&spare.socket, &mut sent) {
            Ok(false) => Some((spare.socket, outbox)),
            Ok(true) if descriptors <= FEW_DESCRIPTORS => {
                self.leftovers.push(Box::new((spare.socket, sent)));
                None
            }
            // Too many to keep; or it has died, which is told in its turn, as the VM's
            // end.
            Ok(true) | Err(_) => None,
        };
        if let Some((socket, _)) = &sending {
            self.poller.add_writable(socket, Token::Job(id))?;
        }
        process.role = Role::Vm(id);
        job.stage = Stage::Running(Box::new(Running {
            process: spare.process,
            ledger,
            outputs,
            deadlines: Deadlines::new(&job.manifest.limits, started),
            started,
            stopped: None,
            sending,
        }));
        let limits = &job.manifest.limits;
        let first = limits.wall_seconds.min(limits.cpu_seconds);
        let first = started + Duration::from_secs_f64(first);
        job.alarm = Some(self.poller.set(first, Alarm::Watch(id)));
        if let (Some(key), Some(Ok(files))) = (key, files) {
            self.nursery.learn(key, files, started)?;
        }
        Ok(())
    }

    /// Sends more of a job whose process did not take all at once.
    pub(super) fn send_job(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let Stage::Running(running) = &mut job.stage else {
            return;
        };
        let Some((socket, outbox)) = &mut running.sending else {
            return;
        };
        // A process that has died is told in its turn.
        if outbox.flush(&*socket).unwrap_or(true) {
            running.sending = None;
        }
    }
}

/// Checks that every descriptor has a use: one that is left over is a mistake, and
/// perhaps the wrong one is missing.
fn check_all_named(
    manifest: &manifest::Manifest,
    descriptors: usize,
) -> Result<(), Error> {
    let mut named = vec![false; descriptors];
    for descriptor in manifest.descriptors() {
        if let Some(mark) = named.get_mut(descriptor) {
            *mark = true;
        }
    }
    match named.iter().position(|mark| !mark) {
        None => Ok(()),
        Some(unused) => {
            let message = format!(
                "manifest: descriptor {unused} of {descriptors} is given and has no use"
            );
            Err(Error::refused(Code::BadManifest, message))
        }
    }
}

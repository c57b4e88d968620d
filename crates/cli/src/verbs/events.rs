//! `events`: what happened to objects, and with `-w` what happens.

use std::time::Duration;

use bowline_api::wire::{ObjectEvent, ObjectEventList};
use bowline_core::object;
use chrono::{DateTime, Utc};

use crate::args::{EventType, EventsArgs, Format, describe as age};
use crate::client::{Client, RequestError, with_query};
use crate::failure::Failure;
use crate::output::{self, Table};
use crate::target;
use crate::ui::Ui;

/// Rest before a stream that broke is begun anew.
const REST: Duration = Duration::from_millis(500);
/// A stream that is silent for this long is dead: an empty list comes every 30 s.
const SILENCE: Duration = Duration::from_secs(90);

/// Runs `events`.
pub(crate) async fn run(args: EventsArgs, ui: &mut Ui) -> Result<(), Failure> {
    let client = args.api.client()?;
    let path = path(&args)?;
    let mut printer =
        Printer { format: args.output, types: args.types, widths: Vec::new(), shown: Vec::new() };
    if args.watch {
        return watch(&client, &path, &mut printer, ui).await;
    }
    let list: ObjectEventList = client.get(&path).await?;
    let truncated = list.truncated;
    if !printer.print_all(list, ui)? {
        ui.say("No events found");
    }
    if truncated {
        ui.say("note: older events are left out; -n or --for narrows the list");
    }
    Ok(())
}

fn path(args: &EventsArgs) -> Result<String, Failure> {
    let mut namespace = args.namespace.namespace.clone();
    let (mut kind, mut name) = (None, None);
    if let Some(about) = &args.about {
        let words: Vec<String> = about.split_whitespace().map(str::to_owned).collect();
        let targets = target::read(&words, namespace.as_deref())?;
        let [key] = targets.keys.as_slice() else {
            return Err(Failure::user(format!("{about:?} is not one object"))
                .hint("name it, for example --for gateway/u1/default"));
        };
        kind = Some(key.kind.singular().to_owned());
        name = Some(key.name.clone());
        namespace.clone_from(&key.namespace);
    }
    let watch = args.watch.then(|| "true".to_owned());
    let pairs = [("kind", kind), ("namespace", namespace), ("name", name), ("watch", watch)];
    Ok(with_query("/v1/events", &pairs))
}

/// Prints until the user stops it, across restarts of the API.
async fn watch(client: &Client, path: &str, printer: &mut Printer, ui: &mut Ui) -> Result<(), Failure> {
    let mut connected = false;
    loop {
        match one_stream(client, path, &mut connected, printer, ui).await? {
            error if connected && error.is_transient() => tokio::time::sleep(REST).await,
            error => return Err(error.into()),
        }
    }
}

/// One stream to its end, and why it ended.
async fn one_stream(
    client: &Client,
    path: &str,
    connected: &mut bool,
    printer: &mut Printer,
    ui: &mut Ui,
) -> Result<RequestError, Failure> {
    let mut stream = match client.stream(path).await {
        Ok(stream) => stream,
        Err(error) => return Ok(error),
    };
    loop {
        let line = match tokio::time::timeout(SILENCE, stream.line()).await {
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None)) => return Ok(RequestError::Broken("the API ended the stream".to_owned())),
            Ok(Err(error)) => return Ok(error),
            Err(_elapsed) => return Ok(RequestError::Broken("the stream went silent".to_owned())),
        };
        let list: ObjectEventList = serde_json::from_slice(&line)
            .map_err(|error| Failure::ours("cannot read the API's events").because(&error))?;
        if *connected {
            printer.print_new(list, ui)?;
        } else {
            printer.print_head(list, ui)?;
        }
        *connected = true;
    }
}

/// Prints events, each once.
struct Printer {
    format: Format,
    /// Only these; empty is all.
    types: Vec<EventType>,
    widths: Vec<usize>,
    /// What was printed: a stream that is begun anew begins with what there is.
    shown: Vec<ObjectEvent>,
}

impl Printer {
    fn wants(&self, event: &ObjectEvent) -> bool {
        self.types.is_empty()
            || self.types.iter().any(|wanted| match wanted {
                EventType::Normal => event.event.event_type == object::EventType::Normal,
                EventType::Warning => event.event.event_type == object::EventType::Warning,
            })
    }

    /// Prints a whole list; `false` when there was nothing to print.
    fn print_all(&mut self, list: ObjectEventList, ui: &mut Ui) -> Result<bool, Failure> {
        let events: Vec<_> = list.items.into_iter().filter(|event| self.wants(event)).collect();
        match self.format {
            Format::Json | Format::Yaml => {
                let list = ObjectEventList { items: events, truncated: list.truncated };
                let is_json = self.format == Format::Json;
                ui.out(if is_json { output::json(&list) } else { output::yaml(&list) }?)?;
            }
            Format::Table | Format::Wide | Format::Name if events.is_empty() => return Ok(false),
            Format::Name => events.iter().try_for_each(|event| ui.line(&event.object))?,
            Format::Table | Format::Wide => ui.out(table(&events, Utc::now()))?,
        }
        Ok(true)
    }

    /// Begins a stream: a table's head, and what there is.
    fn print_head(&mut self, list: ObjectEventList, ui: &mut Ui) -> Result<(), Failure> {
        if matches!(self.format, Format::Table | Format::Wide) {
            let events: Vec<_> = list.items.into_iter().filter(|event| self.wants(event)).collect();
            ui.out(table(&events, Utc::now()).lines(&mut self.widths).concat())?;
            self.shown = events;
            return Ok(());
        }
        self.print_new(list, ui)
    }

    /// Prints what was not printed.
    fn print_new(&mut self, list: ObjectEventList, ui: &mut Ui) -> Result<(), Failure> {
        let events: Vec<_> =
            list.items.into_iter().filter(|event| self.wants(event) && !self.shown.contains(event)).collect();
        for event in &events {
            match self.format {
                Format::Table | Format::Wide => {}
                Format::Name => ui.line(&event.object)?,
                Format::Json => ui.out(output::json(event)?)?,
                Format::Yaml => ui.out(output::yaml(event)? + "---\n")?,
            }
        }
        if matches!(self.format, Format::Table | Format::Wide) && !events.is_empty() {
            ui.out(table(&events, Utc::now()).body(&mut self.widths))?;
        }
        self.shown.retain(|old| !events.iter().any(|new| is_same(old, new)));
        self.shown.extend(events);
        Ok(())
    }
}

/// Whether two are one event that happened again.
fn is_same(old: &ObjectEvent, new: &ObjectEvent) -> bool {
    let identity = |found: &ObjectEvent| {
        (found.uid, found.event.event_type, found.event.reason.clone(), found.event.message.clone())
    };
    identity(old) == identity(new)
}

fn table(events: &[ObjectEvent], now: DateTime<Utc>) -> Table {
    let mut table = Table::new(&["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]);
    for ObjectEvent { object, uid: _, event } in events {
        let last = age(now - event.last_timestamp);
        let last = match event.count {
            ..=1 => last,
            count => format!("{last} (x{count} over {})", age(now - event.first_timestamp)),
        };
        let kind = format!("{:?}", event.event_type);
        let message = event.message.replace('\n', " ");
        table.push(vec![last, kind, event.reason.clone(), object.to_string(), message]);
    }
    table
}

#[cfg(test)]
mod tests;

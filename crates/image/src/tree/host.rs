//! A tree as the rules read it.

use stockade_controls::engine::{
    Entry, Host, HostPath, InitSystem, Inventory, Kind, Name, Notable, Standing, Unseen,
};

use super::Tree;

/// The most files of the inventory.
const MOST_NOTABLE: usize = 20_000;

impl Host for Tree {
    fn standing(&self) -> Standing {
        Standing::Offline
    }

    fn read(&self, path: &HostPath, most: usize) -> Result<Vec<u8>, Unseen> {
        self.read(path, most)
    }

    fn entry(&self, path: &HostPath) -> Result<Entry, Unseen> {
        Ok(self.node(path, false)?.entry)
    }

    fn link(&self, path: &HostPath) -> Result<Vec<u8>, Unseen> {
        let link = self.node(path, false)?.link.clone();
        link.ok_or_else(|| Unseen::Damaged("not a link".to_owned()))
    }

    fn list(&self, path: &HostPath) -> Result<Vec<(Name, Entry)>, Unseen> {
        let at = self.resolve(path, true)?;
        if !self.is_directory(&at) {
            return Err(match self.nodes.get(&at) {
                Some(_) => Unseen::Damaged("not a directory".to_owned()),
                None => Unseen::Absent,
            });
        }
        let children = self.children(&at).into_iter();
        Ok(children
            .map(|(path, node)| (path.name().into(), node.entry))
            .collect())
    }

    fn inventory(&self) -> Result<&Inventory, Unseen> {
        Ok(self.inventory.get_or_init(|| inventory(self)))
    }

    fn init(&self) -> Result<InitSystem, Unseen> {
        InitSystem::installed(self)
    }
}

/// By the rule of the walk over a root directory (`stockade-host`).
fn inventory(tree: &Tree) -> Inventory {
    let mut found = Inventory {
        looked_at: tree.nodes.len(),
        ..Inventory::default()
    };
    for (place, why) in &tree.unread {
        let path = format!("/{}", place.trim_start_matches('/'));
        let path = path.parse().unwrap_or_else(|_| HostPath::root());
        found.unseen.push((path, why.clone()));
    }
    for (path, node) in &tree.nodes {
        let entry = node.entry;
        let (capability, notable) = match entry.kind {
            Kind::Link | Kind::Device => continue,
            Kind::Directory => {
                // Everybody may put things into it, and take away what others have put there.
                let open = entry.mode & 0o1002 == 0o0002;
                (None, open && *path != HostPath::root())
            }
            Kind::File | Kind::Other => {
                let attribute = node.attributes.get(b"security.capability".as_slice());
                let capability = attribute.filter(|_| entry.mode & 0o111 != 0).cloned();
                let notable = capability.is_some()
                    || entry.mode & 0o6002 != 0
                    || Inventory::secret_by_name(path.name());
                (capability, notable)
            }
        };
        if !notable {
            continue;
        }
        if found.notable.len() == MOST_NOTABLE {
            let why = Unseen::TooMuch(MOST_NOTABLE);
            found.unseen.push((path.clone(), why));
            break;
        }
        let path = path.clone();
        found.notable.push(Notable {
            path,
            entry,
            capability,
        });
    }
    found.unseen.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    found
}

// A strict stand-in for Jenkins' declarative DSL: runs a Jenkinsfile's blocks, refuses every word
// that is not in its table, and prints what it found as JSON. This checks the DSL; it is no Jenkins.
import groovy.json.JsonOutput
import org.codehaus.groovy.control.CompilerConfiguration

class Refused extends RuntimeException { Refused(String message) { super(message) } }

// Inside each block: the words that may be used there, and whether a word opens a block.
class Block {
  static final Map<String, List<String>> WORDS = [
    file: ['pipeline'],
    pipeline: ['agent', 'options', 'environment', 'stages', 'post'],
    agent: ['label'],
    options: ['timestamps', 'timeout', 'disableConcurrentBuilds', 'buildDiscarder', 'logRotator'],
    environment: ['credentials'],
    stages: ['stage'],
    stage: ['when', 'steps', 'environment'],
    when: ['branch', 'buildingTag', 'anyOf'],
    anyOf: ['branch', 'buildingTag'],
    steps: ['sh', 'withCredentials', 'usernamePassword', 'string'],
    withCredentials: ['sh'],
    post: ['always', 'success', 'failure'],
    always: ['archiveArtifacts', 'sh'],
    success: ['sh'],
    failure: ['sh'],
  ]
  static final Map<String, List<String>> NEEDS = [
    pipeline: ['agent', 'stages'], stages: ['stage'], stage: ['steps'],
  ]
  String name
  List found = []
  Map settings = [:]

  def invokeMethod(String word, Object arguments) {
    if (!(word in WORDS[name])) throw new Refused("`${word}` does not belong into `${name}`")
    def values = (arguments as List)
    def entry = [word: word, arguments: values.findAll { !(it instanceof Closure) }.collect { plain(it) }]
    def body = values.find { it instanceof Closure }
    if (body != null) {
      def inner = new Block(name: word)
      body.delegate = inner
      body.resolveStrategy = Closure.DELEGATE_ONLY
      body.call()
      def missing = (NEEDS[word] ?: []).find { needed -> !inner.found.any { it.word == needed } }
      if (missing) throw new Refused("`${word}` lacks `${missing}`")
      entry.block = inner.found
      entry.settings = inner.settings
    }
    found << entry
    return entry
  }

  static plain(value) {
    if (value instanceof List) return value.collect { plain(it) }
    if (value instanceof Map) return value.collectEntries { k, v -> [k, plain(v)] }
    return value
  }

  void setProperty(String key, Object value) {
    if (key in ['name', 'found', 'settings']) { this.@"$key" = value; return }
    if (name != 'environment') throw new Refused("`${key} =` does not belong into `${name}`")
    settings[key] = value
  }

  Object getProperty(String key) {
    if (key in ['name', 'found', 'settings']) return this.@"$key"
    throw new Refused("`${key}` is not known in `${name}`")
  }
}

abstract class JenkinsScript extends Script {
  Block file = new Block(name: 'file')
  def invokeMethod(String word, Object arguments) { file.invokeMethod(word, arguments) }
}

def configuration = new CompilerConfiguration(scriptBaseClass: JenkinsScript.name)
try {
  def script = new GroovyShell(this.class.classLoader, new Binding(), configuration)
    .parse(new File(args[0]))
  script.run()
  println JsonOutput.toJson(script.file.found[0])
} catch (Refused refused) {
  System.err.println("refused: " + refused.message)
  System.exit(2)
}
